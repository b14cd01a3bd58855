//! Decode and validate, per record: what stays as it is, what is written anew, and an array.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::Rules;
use dig_ingest::record::{Decoded, Outcome, SerialOf};

const NOW: i64 = 1_763_700_000_000_000;
const RUN: usize = 512;

type Make = fn(usize) -> String;

struct Fleet;

impl SerialOf for Fleet {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        Some("CX0B21338D8D")
    }
}

/// 160 bytes.
fn gps(number: usize) -> String {
    let at = number % 1_000_000;
    format!(
        r#"{{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00.{at:06}Z","SerialNo":"CX0B21338D8D","Latitude":47.37,"Longitude":8.541,"IsGpsValid":true,"IsIgnitionOn":true}}"#
    )
}

fn lower_case(number: usize) -> String {
    gps(number).replace("Latitude", "latitude")
}

fn by_device(number: usize) -> String {
    gps(number).replace(
        r#""SerialNo":"CX0B21338D8D""#,
        r#""DeviceId":"352093081452251""#,
    )
}

fn status(number: usize) -> String {
    format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"2025-11-20T10:00:00.{:06}Z","SerialNo":"CX0B21338D8D","Code":107,"Value":{number}}}"#,
        number % 1_000_000
    )
}

fn records(criterion: &mut Criterion) {
    assert_eq!(gps(1).len(), 160);
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RUN as u64));
    let shapes: [(&str, Make); 4] = [
        ("gps", gps),
        ("status", status),
        ("gps_lower_case", lower_case),
        ("gps_by_device", by_device),
    ];
    for (name, make) in shapes {
        let messages: Vec<String> = (0..RUN).map(make).collect();
        group.bench_function(name, |bencher| {
            let mut decoder = Decoder::new(Shape::Native, Arc::new(Rules::default()));
            let mut out = Decoded::default();
            bencher.iter(|| {
                out.clear();
                for message in &messages {
                    decoder.decode(Some(black_box(message.as_bytes())), &Fleet, NOW, &mut out);
                }
                black_box(&out);
            });
            assert!(
                out.outcomes
                    .iter()
                    .all(|outcome| matches!(outcome, Outcome::Valid(_)))
            );
        });
    }
    let array = format!("[{}]", (0..RUN).map(gps).collect::<Vec<_>>().join(","));
    group.bench_function("gps_in_one_array", |bencher| {
        let mut decoder = Decoder::new(Shape::Native, Arc::new(Rules::default()));
        let mut out = Decoded::default();
        bencher.iter(|| {
            out.clear();
            decoder.decode(Some(black_box(array.as_bytes())), &Fleet, NOW, &mut out);
            black_box(&out);
        });
        assert_eq!(out.outcomes.len(), RUN);
    });
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
