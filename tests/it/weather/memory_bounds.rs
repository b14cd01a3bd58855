//! What is promised in bytes holds in bytes (M1).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_ingest::dig::page;
use dig_ingest::http::transport;
use dig_ingest::orders::terminations::{self, sheet};
use dig_ingest::orders::{import, inventory};
use dig_ingest::pipeline::gate::{self, Gate, Mode};
use dig_ingest::pipeline::letter::{Destination, Letter};
use dig_ingest::pipeline::partition::{Partition, Read};
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::tally::EACH;
use dig_ingest::record::validate::{Config, Rules};
use dig_ingest::registry::{Device, Snapshot, State};

use crate::allocations::most_bytes;
use crate::support::broker::Broker;
use crate::support::world::World;

const MIB: i64 = 1024 * 1024;
const NOW_US: i64 = 1_790_000_000_000_000;

fn read(offset: i64, payload: &[u8], records: u64) -> Read<'_> {
    Read {
        offset,
        timestamp_ms: None,
        key: Some(b"one-producer"),
        payload: Some(payload),
        records: records as u32,
    }
}

fn decode(payload: &[u8], devices: &Snapshot) -> Decoded {
    let rules = Arc::new(Rules::new(&Config::default()));
    let mut decoded = Decoded::default();
    Decoder::new(Shape::Native, rules).decode(Some(payload), devices, NOW_US, &mut decoded);
    decoded
}

/// A message of a mebibyte that is nothing but empty objects made 349,000 letters at once, 1.26 GB with four partitions
/// (the same as in getsentry/sentry-kafka-schemas#482: one message that no consumer survives).
#[test]
fn a_message_of_empty_objects_makes_a_few_letters_and_the_account_is_exact() {
    let payload = format!("[{}{{}}]", "{},".repeat(349_000));
    let records = 349_001;
    let mut partition = Partition::new("telemetry", 0, Gate::default());
    let devices = Snapshot::default();
    let (letters, most) = most_bytes(|| {
        let mut decoded = decode(payload.as_bytes(), &devices);
        assert_eq!(decoded.records(), records);
        let reads = std::iter::once(read(7, payload.as_bytes(), records));
        partition.admit(reads, &mut decoded, None, &devices, Instant::now())
    });
    assert!(
        most < 64 * MIB,
        "{most} bytes for a message of one mebibyte"
    );
    assert_eq!(letters.len() as u32, EACH + 1);
    let last = letters.last().expect("letters");
    assert_eq!(last.value, payload.as_bytes(), "the message as it came");
    assert_eq!(last.reason.code, "record.member.missing");
    assert!(
        last.reason.detail.contains("348985 more records"),
        "{}",
        last.reason.detail
    );
    assert_eq!(partition.account().in_hand(), records);
    assert_eq!(partition.watermark(), None, "nothing is settled yet (O1)");
    for (at, letter) in letters.iter().enumerate() {
        partition.letter_written(letter, at as i64);
    }
    let account = partition.account();
    assert_eq!(
        (account.read, account.dead_lettered, account.in_hand()),
        (records, records, 0)
    );
    assert_eq!(partition.watermark(), Some(8));
}

/// The letters of one message come in parts: as many as there is room for, then the next ones, in their order (S1), and none twice.
#[test]
fn a_message_of_thousands_of_held_records_is_taken_in_as_letters_are_written() {
    const RECORDS: u64 = 5_000;
    const ROOM: u64 = 64 * 1024;
    let record = |n: u64| {
        format!(
            r#"{{"Type":"GpsRecord","DateTime":"2026-09-21T10:00:00.{n:06}Z","SerialNo":"CX0000000001","Latitude":43.4516,"Longitude":-79.5,"Speed":88.5,"IsGpsValid":true,"IsIgnitionOn":true}}"#
        )
    };
    let all: Vec<String> = (0..RECORDS).map(record).collect();
    let payload = format!("[{}]", all.join(","));
    let device = Device {
        device_id: "truck".into(),
        serial: Some("CX0000000001".into()),
        state: State::Pending,
        order: None,
        since: None,
    };
    let devices = Snapshot::new(&[device]).expect("one");
    let gate = Gate::new(gate::Config {
        mode: Mode::Registry,
        ..gate::Config::default()
    });
    let mut partition = Partition::new("telemetry", 0, gate);
    let mut decoded = decode(payload.as_bytes(), &devices);
    assert_eq!(decoded.records(), RECORDS);
    let reads = || std::iter::once(read(0, payload.as_bytes(), RECORDS));
    let now = Instant::now();
    let (mut letters, mut rest) =
        partition.admit_within(reads(), &mut decoded, None, &devices, (now, ROOM));
    let (mut held, mut parts) = (Vec::new(), 0);
    loop {
        let bytes: u64 = letters.iter().map(Letter::bytes).sum();
        assert!(bytes <= ROOM + 2_048, "{bytes} bytes of letters at once");
        for letter in &letters {
            assert_eq!(letter.destination, Destination::Held);
            partition.letter_written(letter, held.len() as i64);
            held.push(letter.value.clone());
        }
        parts += 1;
        let Some(more) = rest.take() else { break };
        let skipped = reads().skip(more.done());
        (letters, rest) = partition.admit_rest(more, skipped, &devices, ROOM);
    }
    assert!(parts > 50, "{parts} parts");
    assert!(
        held.iter()
            .zip(&all)
            .all(|(held, record)| held == record.as_bytes())
    );
    let account = partition.account();
    assert_eq!(
        (account.read, account.held, account.in_hand()),
        (RECORDS, RECORDS, 0)
    );
    assert_eq!(partition.watermark(), Some(1));
}

/// One 3 KB message of 1001 empty objects stopped the whole job, and again after every restart.
#[test]
fn one_message_of_a_thousand_empty_objects_does_not_stop_the_job() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.set("guard.min_records", "100");
    world.join();
    let payload = format!("[{}{{}}]", "{},".repeat(1_000));
    for _ in 0..120 {
        let topic = world.topic.clone();
        world
            .broker
            .write(&topic, "one-producer", &payload, Duration::ZERO);
    }
    world.until("the letters are written", |world| {
        world.letters().len() as u32 >= 120 * (EACH + 1)
    });
    assert!(world.instances[0].alive());
    world.instances[0].said("the device is named", |line| {
        line.contains("one-producer").then_some(())
    });
    let before = world.accepted();
    world.produced(500, &["--devices", "50"]);
    world.until("records of others are sent", |world| {
        world.accepted() >= before + 500
    });
    world.end();
}

/// A job that nobody configured, in a container of 256 MB, with a backlog and a gateway that is away: it was killed after 5 s.
#[test]
fn a_backlog_fits_into_the_memory_of_a_small_container() {
    const LIMIT: u64 = 256_000_000;
    let mut world = World::new(Broker::shared(), 8, &[]);
    world.set("memory.limit_bytes", &LIMIT.to_string());
    world.gateway.outage(Some(dig_ingest::sim::Action::Cut(
        dig_ingest::sim::CutAt::BeforeBody,
    )));
    world.produced(200_000, &["--devices", "2000"]);
    world.join();
    let lowered = world.instances[0].said("it fits itself into its memory", |line| {
        line.contains("lowered").then(|| line.to_owned())
    });
    assert!(lowered.contains("memory.total_bytes"), "{lowered}");
    world.until("all its memory is lent out", |world| {
        world.instances[0].metric("dig_ingest_backpressure_total") > 0.0
    });
    world.gateway.outage(None);
    world.drained();
    let peak = world.instances[0].peak_resident_bytes();
    assert!(
        peak < LIMIT,
        "{peak} bytes resident in a container of {LIMIT}"
    );
    world.finish(0);
}

/// An answer of `/invalidrecords` of millions of empty arrays cost 60 times its bytes.
#[test]
fn a_page_of_invalid_records_costs_its_bytes() {
    let items = "[],".repeat(49_000);
    let odd = format!(
        "{{\"Data\":{{\"Other\":[{}0],\"NextResultKey\":5,\"InvalidRecords\":[{items}0]}}}}",
        "[],".repeat(1_000_000)
    );
    let (page, most) = most_bytes(|| page::read(odd.as_bytes()).expect("a page"));
    assert_eq!((page.records.len(), page.next_key), (49_001, Some(5)));
    assert!(
        most < 16 * MIB,
        "{most} bytes for an answer of {}",
        odd.len()
    );
}

/// An answer without an end is given up at the bound, whatever the server goes on to send.
#[tokio::test]
async fn an_endless_page_of_invalid_records_is_given_up_at_its_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let part = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
        let mut sent = stream.write_all(head);
        // Until the client leaves.
        while sent.is_ok() {
            sent = stream.write_all(part.as_bytes());
        }
    });
    let options = transport::Options {
        section: "dig",
        plain: true,
        ca_file: None,
        ca_file_only: false,
        proxy: None,
        user_agent: "test",
        connect_timeout: Duration::from_secs(20),
        pool_idle: Duration::from_secs(20),
        pool_size: 1,
    };
    let client = transport::client(options, Default::default()).expect("a client");
    let answer = client.get(format!("http://{address}/")).send().await;
    let (read, end) = transport::read_within(answer.expect("an answer"), 1024 * 1024).await;
    assert_eq!(end, Err(transport::End::TooLarge));
    assert!(read.len() <= 1024 * 1024);
    drop(client);
    // The runtime of this thread closes the connection meanwhile.
    let ended = tokio::task::spawn_blocking(move || server.join()).await;
    ended.expect("waited").expect("the server ends");
}

/// A CSV file of 16 MB of commas cost 928 MB.
#[test]
fn a_csv_file_of_commas_costs_one_row() {
    let commas = vec![b','; 16 << 20];
    let lines = [
        b"imei,unit,Serial Number,Termination Date\n".as_slice(),
        &b",,\n".repeat(1 << 18),
    ]
    .concat();
    let bad = [
        b"imei,unit,Serial Number,Termination Date\n".as_slice(),
        &b"x\n".repeat(1 << 18),
    ]
    .concat();
    for file in [commas, lines, bad] {
        let (read, most) = most_bytes(|| sheet::read(&file, &terminations::Config::default()));
        assert!(most < 32 * MIB, "{most} bytes for a sheet: {read:?}");
        let (read, most) = most_bytes(|| import::read(&file, &import::Config::default()));
        assert!(
            most < 32 * MIB,
            "{most} bytes for an import: {} bad",
            read.bad.len()
        );
        let (read, most) = most_bytes(|| inventory::read(&file, &inventory::Config::default()));
        assert!(
            most < 32 * MIB,
            "{most} bytes for an inventory: {} bad",
            read.bad.len()
        );
    }
}
