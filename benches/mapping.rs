//! What a vendor message costs: parsed, looked up, computed, validated, rendered. Throughput is per vendor message.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dig_ingest::formats::{Compiled, Intake, Limits, Reader, Source, avro, protobuf};
use dig_ingest::load::binary::{self, Encoding};
use dig_ingest::load::mix::Mix;
use dig_ingest::load::plan::{By, Plan, Shape};
use dig_ingest::load::{Tally, put_message};
use dig_ingest::record::decode::{self, Decoder};
use dig_ingest::record::diagnostics::Diagnostics;
use dig_ingest::record::mapping::{self, Mapping, Mappings, SHIPPED};
use dig_ingest::record::origin::Origin;
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
        let mut decoder = Decoder::new(decode::Shape::Mapped(mapping), rules);
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

/// The shape `generic` in each format, mapped to the same records.
fn formats(c: &mut Criterion) {
    let mappings = Mappings::open(&mapping::Config::default()).expect("shipped diagnostics");
    let rules = Arc::new(Rules::new(&validate::Config::default()));
    let limits = Limits::new(rules.max_message_bytes(), rules.max_depth());
    let avro = avro::Schema::parse(binary::AVRO, &[]).expect("a schema");
    let avro = Compiled::Avro(avro::Plan::new(&avro, None).expect("a schema"));
    let protobuf = protobuf::Plan::of_text(binary::PROTOBUF, Vec::new()).expect("a schema");
    let protobuf = Compiled::Protobuf(protobuf);
    let ty = protobuf.message_type(None).expect("one message type");
    let mut group = c.benchmark_group("formats");
    for (name, encoding, source) in [
        ("json", Encoding::Json, None),
        (
            "avro",
            Encoding::Avro(Vec::new()),
            Some(Source::Fixed(Arc::new(avro), 0)),
        ),
        (
            "protobuf",
            Encoding::Protobuf(Vec::new()),
            Some(Source::Fixed(Arc::new(protobuf), ty)),
        ),
    ] {
        let plan = Plan {
            seed: 1,
            devices: 1,
            mix: Mix::default(),
            shape: Shape::Generic,
            by: By::DeviceId,
            start_us: NOW - 60_000_000,
            step_us: 1_000_000,
            array: 1,
            backlog: 1,
            bad_share: 0.0,
            poison_share: 0.0,
            late_share: 0.0,
            poison_marker: String::new(),
            encoding,
        };
        let mut message = Vec::new();
        let device = plan.device(0);
        put_message(&mut message, &plan, &device, 0, 1, &mut Tally::default());
        let mapped = decode::Shape::Mapped(mappings.load("generic").expect("shipped"));
        let decoder = Decoder::new(mapped, Arc::clone(&rules));
        let reader = source.map(|source| Reader::new(source, limits));
        let mut intake = Intake::new(reader, decoder);
        let mut out = Decoded::default();
        let mut run = |out: &mut Decoded| {
            out.clear();
            let message = Some(black_box(&message[..]));
            let read = intake.decode(message, (&Origin::NONE, &OneDevice, NOW), out);
            read.expect("its schema is here");
            out.outcomes.len()
        };
        assert_eq!(run(&mut out), 2, "{name}: {:?}", out.outcomes);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| b.iter(|| black_box(run(&mut out))));
    }
    group.finish();
}

criterion_group!(benches, messages, formats);
criterion_main!(benches);
