//! Messages whose parts are what any program may write: names of headers that are no text, times that no calendar has.

use std::{ffi::c_char, time::Duration};

use rdkafka::{
    ClientConfig,
    bindings::{
        rd_kafka_error_destroy, rd_kafka_produceva, rd_kafka_vtype_t as Kind, rd_kafka_vu_s as Part,
    },
    producer::{BaseProducer, FutureProducer, FutureRecord, Producer as _},
};

use crate::kafka::held::{devices, fleet, gated, held, import};
use crate::support::{
    broker::{Broker, block_on},
    world::World,
};

const BOUND: Duration = Duration::from_secs(60);

/// Writes a message to partition 0 with headers of any name, which the safe binding does not offer.
fn write_with_headers(world: &World<'_>, topic: &str, value: &[u8], headers: &[(&[u8], &[u8])]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.broker.address())
        .create()
        .expect("a producer");
    let topic = std::ffi::CString::new(topic).expect("a name");
    let names: Vec<_> = headers
        .iter()
        .map(|(name, _)| [*name, b"\0"].concat())
        .collect();
    let part = |kind: Kind| {
        // SAFETY: every bit pattern is a value of the union; what the kind needs is set below.
        let mut part: Part = unsafe { std::mem::zeroed() };
        part.vtype = kind;
        part
    };
    let mut parts = vec![
        part(Kind::RD_KAFKA_VTYPE_TOPIC),
        part(Kind::RD_KAFKA_VTYPE_PARTITION),
        part(Kind::RD_KAFKA_VTYPE_VALUE),
        part(Kind::RD_KAFKA_VTYPE_MSGFLAGS),
    ];
    parts[0].u.cstr = topic.as_ptr();
    parts[1].u.i32_ = 0;
    parts[2].u.mem.ptr = value.as_ptr().cast_mut().cast();
    parts[2].u.mem.size = value.len();
    // The library copies the value.
    parts[3].u.i = 2;
    for (name, (_, value)) in names.iter().zip(headers) {
        let mut header = part(Kind::RD_KAFKA_VTYPE_HEADER);
        header.u.header.name = name.as_ptr().cast::<c_char>();
        header.u.header.val = value.as_ptr().cast();
        header.u.header.size = value.len().cast_signed();
        parts.push(header);
    }
    // SAFETY: all texts outlive the call, which copies them; the client is alive.
    unsafe {
        let native = producer.client().native_ptr();
        let error = rd_kafka_produceva(native, parts.as_ptr(), parts.len());
        let taken = error.is_null();
        rd_kafka_error_destroy(error);
        assert!(taken, "the library takes the message");
    }
    producer.flush(BOUND).expect("the broker has it");
}

/// A name that is not UTF-8 made the client's safe binding panic: one message in a held topic ended the process at every start.
#[test]
fn headers_whose_names_are_no_text_end_nothing() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    world.produced(200, &["--devices", "5", "--registry", &path]);
    world.until("they are held", |world| held(world) == 200);
    let topic = format!("{}.held", world.topic);
    for name in [&b"\xff\xfe"[..], b"", b"reason\0more", b"\xc3\x28reason"] {
        let known: (&[u8], &[u8]) = (b"reason", b"device.pending");
        write_with_headers(
            &world,
            &topic,
            b"{}",
            &[(name, b"x"), known, (b"empty", b"")],
        );
    }
    // A start reads everything that is held.
    let mut first = world.instances.remove(0);
    first.signal("TERM");
    first.succeeded();
    world.join();
    import(&mut world, &fleet, |_| Some("active"));
    world.until("what was held is released", |world| world.accepted() == 200);
    world.until("what others wrote is listed", |world| {
        devices(world, &["held"])["records"] == 4
    });
    world.leave(150);
    world.end();
}

/// Times of messages that no calendar has: before 1970, in the year 10000 and later, the largest number there is.
#[test]
fn messages_of_any_time_are_held_listed_and_released() {
    let mut world = gated(Broker::shared(), &[]);
    let most = i64::MAX.to_string();
    for setting in [
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
    ] {
        world.broker.alter_topic(&world.topic, setting, &most);
    }
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    world.produced(100, &["--devices", "5", "--registry", &path]);
    let text = std::fs::read_to_string(&fleet).expect("devices");
    let device: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("one")).expect("JSON");
    let serial = device["serial"].as_str().expect("a serial");
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", world.broker.address())
        .create()
        .expect("a producer");
    let now = jiff::Timestamp::now();
    let times = [1, 253_402_300_800_000, i64::MAX / 1_000, i64::MAX - 1];
    for (number, time) in (0..).zip(times) {
        // Records of one device and one time are one record to the gateway.
        let at = now - jiff::SignedDuration::from_millis(number);
        let record = format!(
            r#"{{"Type":"GenericStatusRecord","DateTime":"{at:.6}","SerialNo":"{serial}","Code":107,"Value":{number}}}"#
        );
        for value in [record.as_str(), "no record"] {
            let message: FutureRecord<'_, str, str> = FutureRecord::to(&world.topic)
                .payload(value)
                .timestamp(time);
            block_on(producer.send(message, BOUND)).expect("the broker has it");
        }
    }
    world.drained();
    // The one of 1970 has been held for too long, which may have been noticed already.
    let listed = devices(&mut world, &["held"]);
    assert!(
        [103, 104]
            .map(serde_json::Value::from)
            .contains(&listed["records"]),
        "{listed:#}"
    );
    import(&mut world, &fleet, |_| Some("active"));
    world.until("what was held is released", |world| world.accepted() == 103);
    world.until("the oldest is a letter", |world| world.letters().len() == 5);
    world.leave(150);
    world.end();
}
