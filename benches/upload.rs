//! Benches of the upload: cutting bodies, the search for refused records, and whole requests over loopback.

use std::hint::black_box;
use std::ops::Range;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::post;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dig_ingest::config::secret::Secret;
use dig_ingest::pipeline::isolation::Past;
use dig_ingest::pipeline::request::{Request, Span};
use dig_ingest::pipeline::split::{MAX_RECORDS, Split};
use dig_ingest::pipeline::upload::{self, Uploader};
use dig_ingest::{dig, http::pacing};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

/// A full request of 160-byte records, 100 of each of 50 serials.
fn request() -> Request {
    let (mut body, mut records, mut batches) = (vec![b'['], Vec::new(), Vec::new());
    for serial in 0..50 {
        batches.push(records.len() as u32);
        for n in 0..100 {
            if !records.is_empty() {
                body.push(b',');
            }
            let start = body.len() as u32;
            let record = format!(
                r#"{{"Type":"GpsRecord","DateTime":"2026-01-01T00:00:00.{n:06}Z","SerialNo":"CX00000000{serial:02}","Latitude":43.4516,"Longitude":-79.6877,"Speed":51.3,"IsGpsValid":true}}"#
            );
            body.extend_from_slice(record.as_bytes());
            records.push(Span {
                start,
                end: body.len() as u32,
            });
        }
    }
    body.push(b']');
    Request {
        body: body.into(),
        records,
        batches,
    }
}

/// Everything but record `bad` is accepted; gives the number of requests.
fn search(request: &Request, bad: u32) -> u32 {
    let mut split = Split::new(request.clone());
    let mut sent = 0;
    while let Some(part) = split.next(MAX_RECORDS, usize::MAX) {
        black_box(split.body(&part));
        sent += 1;
        if part.contains(&bad) {
            split.bad(&part, "bad")
        } else {
            split.accepted(&part)
        }
    }
    sent
}

fn cut(c: &mut Criterion) {
    let request = request();
    let split = Split::new(request.clone());
    let half: Range<u32> = 0..2_500;
    let mut group = c.benchmark_group("split");
    group.throughput(Throughput::Bytes(request.body.len() as u64 / 2));
    group.bench_function("copy half of a body", |b| {
        b.iter(|| black_box(split.body(&half)))
    });
    group.finish();
    c.bench_function("split: find one refused record of 5000", |b| {
        b.iter(|| black_box(search(&request, 3_333)))
    });
}

/// A server that lets anybody in, reads bodies and accepts them.
async fn sink() -> String {
    let token = r#"{"Error":[],"Data":{"Authenticated":true,"BearerToken":{"TokenString":"b"},"RefreshToken":{"TokenString":"r"}}}"#;
    let accept = |body: Body| async move {
        let mut body = body.into_data_stream();
        while let Some(Ok(chunk)) = body.next().await {
            black_box(chunk.len());
        }
        (
            StatusCode::ACCEPTED,
            r#"{"Error":[],"Data":"6f0c1c0e-0000-4000-8000-000000000000"}"#,
        )
    };
    let routes = Router::new()
        .route(
            "/authentication/authenticate",
            post(move || async move { token }),
        )
        .route("/records", post(accept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn whole(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let uploader = runtime.block_on(async {
        let dig = dig::Config {
            url: sink().await,
            username: "u".into(),
            password: Secret::new("p"),
            ..dig::Config::default()
        };
        Uploader::connect(
            dig,
            pacing::Config::default(),
            upload::Config::default(),
            8 << 20,
        )
        .expect("an uploader")
    });
    let request = request();
    let stop = CancellationToken::new();
    let mut group = c.benchmark_group("upload over loopback");
    group.throughput(Throughput::Elements(request.records.len() as u64));
    group.sample_size(50);
    group.bench_function("5000 records a request, one at a time", |b| {
        b.to_async(&runtime).iter(|| async {
            let slot = uploader.slot().await;
            uploader
                .upload(slot, request.clone(), Past::default(), &stop)
                .await
                .expect("accepted")
        });
    });
    group.finish();
}

criterion_group!(benches, cut, whole);
criterion_main!(benches);
