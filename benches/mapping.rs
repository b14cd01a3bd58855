//! What a vendor message costs: parsed, looked up, computed, validated, rendered. Throughput is per vendor message.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::diagnostics::Diagnostics;
use dig_ingest::record::mapping::{self, Mapping, Mappings, SHIPPED};
use dig_ingest::record::validate::{self, Rules};
use dig_ingest::record::{Decoded, Outcome, SerialOf};

const NOW: i64 = 1_706_500_000_000_000;

struct OneDevice;

impl SerialOf for OneDevice {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        Some("CX0B21338D8D")
    }
}

fn sample(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/fixtures/mappings/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let pretty = std::fs::read(path).expect("the mapping's sample");
    // As a vendor sends it: without white space.
    serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(&pretty).expect("JSON"))
        .expect("JSON")
}

fn messages(c: &mut Criterion) {
    let mappings = Mappings::open(&mapping::Config::default()).expect("shipped diagnostics");
    let mut group = c.benchmark_group("mapping");
    let program = format!(
        "jq = '{}/tests/fixtures/mappings/owntracks.jq'",
        env!("CARGO_MANIFEST_DIR")
    );
    let diagnostics = Diagnostics::shipped().expect("shipped diagnostics");
    let program = Mapping::compile("program.toml", &program, &diagnostics).expect("the program");
    let shipped = SHIPPED.map(|(name, _)| (name, name, mappings.load(name).expect("shipped")));
    let all = shipped
        .into_iter()
        .chain([("owntracks_by_jq", "owntracks", Arc::new(program))]);
    for (name, sampled, mapping) in all {
        let message = sample(sampled);
        let rules = Arc::new(Rules::new(&validate::Config::default()));
        let mut decoder = Decoder::new(Shape::Mapped(mapping), rules);
        let mut out = Decoded::default();
        decoder.decode(Some(&message), &OneDevice, NOW, &mut out);
        assert!(
            out.outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Valid(_))),
            "{name}: {:?}",
            out.outcomes
        );
        group.throughput(Throughput::Elements(1));
        group.bench_function(
            format!(
                "{name}_{}_bytes_{}_records",
                message.len(),
                out.outcomes.len()
            ),
            |b| {
                b.iter(|| {
                    out.clear();
                    decoder.decode(Some(black_box(&message)), &OneDevice, NOW, &mut out);
                    black_box(out.outcomes.len())
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
