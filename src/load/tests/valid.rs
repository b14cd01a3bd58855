//! What load says of a record is what validation makes of it.

use std::sync::Arc;

use crate::formats::{Compiled, Intake, Limits, Reader, Source, avro, protobuf};
use crate::load::binary::{self, Encoding};
use crate::load::plan::{By, Fate, Plan, Shape, sample};
use crate::load::{Tally, put_message};
use crate::record::decode::{self, Decoder};
use crate::record::mapping::Mappings;
use crate::record::origin::Origin;
use crate::record::validate::{Config, Rules};
use crate::record::{Decoded, Outcome, SerialOf};

/// Knows every device of a plan.
struct Everyone(std::collections::HashMap<String, String>);

impl Everyone {
    fn of(plan: &Plan) -> Self {
        let devices = (0..plan.devices).map(|index| plan.device(index));
        Self(
            devices
                .map(|device| (device.id().to_owned(), device.serial().to_owned()))
                .collect(),
        )
    }
}

impl SerialOf for Everyone {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        self.0.get(device_id).map(String::as_str)
    }
}

/// Reads messages without header.
fn reader_of(encoding: &Encoding) -> Option<Reader> {
    let (schema, ty) = match encoding {
        Encoding::Json => return None,
        Encoding::Avro(_) => {
            let schema = avro::Schema::parse(binary::AVRO, &[]).unwrap();
            (Compiled::Avro(avro::Plan::new(&schema, None).unwrap()), 0)
        }
        Encoding::Protobuf(_) => {
            let plan = protobuf::Plan::of_text(binary::PROTOBUF, Vec::new()).unwrap();
            let schema = Compiled::Protobuf(plan);
            let ty = schema.message_type(None).unwrap();
            (schema, ty)
        }
    };
    let source = Source::Fixed(Arc::new(schema), ty);
    Some(Reader::new(source, Limits::new(1 << 20, 32)))
}

/// Every record's type, serial and fate against its outcome; returns the notes.
fn agree(plan: &Plan, shape: &decode::Shape, messages: u64) -> Vec<(&'static str, u64)> {
    let decoder = Decoder::new(shape.clone(), Arc::new(Rules::new(&Config::default())));
    let mut intake = Intake::new(reader_of(&plan.encoding), decoder);
    let known = Everyone::of(plan);
    let now = plan.start_us + 86_400_000_000;
    let mut decoded = Decoded::default();
    for number in 0..messages {
        let (device, nth) = plan.sender(number);
        let device = plan.device(device);
        let mut message = Vec::new();
        let ticks = plan.ticks_per_message();
        put_message(
            &mut message,
            plan,
            &device,
            nth,
            ticks,
            &mut Tally::default(),
        );
        let text = String::from_utf8_lossy(&message);
        decoded.outcomes.clear();
        let call = (&Origin::NONE, &known, now);
        let read = intake.decode(Some(&message), call, &mut decoded);
        read.expect("its schema is here");
        let expected: Vec<_> = (nth * ticks..(nth + 1) * ticks)
            .map(|tick| plan.draw(&device, tick))
            .flat_map(|draw| plan.kinds(&draw).iter().map(move |kind| (*kind, draw)))
            .collect();
        assert_eq!(decoded.outcomes.len(), expected.len(), "{text}");
        for (outcome, (kind, draw)) in decoded.outcomes.iter().zip(expected) {
            match (draw.fate, outcome) {
                (Fate::Rejected(_), Outcome::Reject(_)) => {}
                (Fate::Accepted | Fate::Refused, Outcome::Valid(record)) => {
                    assert_eq!(record.kind(), kind, "{text}");
                    assert_eq!(record.serial(&decoded.bytes), device.serial, "{text}");
                    let sent: serde_json::Value =
                        serde_json::from_slice(record.bytes(&decoded.bytes)).unwrap();
                    let time: jiff::Timestamp = sent["DateTime"].as_str().unwrap().parse().unwrap();
                    assert_eq!(time.as_microsecond(), draw.time_us, "{text}");
                }
                (fate, outcome) => panic!("{fate:?}, but {outcome:?}: {text}"),
            }
        }
    }
    decoded.notes
}

#[test]
fn native_records_are_accepted_or_rejected_as_planned() {
    for shape in [Shape::Native, Shape::NativeArray] {
        for by in [By::Serial, By::DeviceId] {
            let plan = Plan {
                shape,
                by,
                mix: "all=1".parse().unwrap(),
                bad_share: 0.3,
                poison_share: 0.05,
                late_share: 0.1,
                ..sample()
            };
            agree(&plan, &decode::Shape::Native, 5_000);
        }
    }
}

#[test]
fn the_usual_mix_gives_validation_nothing_to_remark_on() {
    assert_eq!(agree(&sample(), &decode::Shape::Native, 5_000), []);
}

#[test]
fn vendor_messages_become_what_the_shipped_mappings_make_of_them() {
    let shipped = Mappings::open(&crate::record::mapping::Config::default()).unwrap();
    for shape in [Shape::Flespi, Shape::Traccar, Shape::Generic] {
        let mapping = shipped.load(shape.name()).unwrap();
        let plan = Plan {
            shape,
            by: By::DeviceId,
            bad_share: 0.2,
            poison_share: 0.05,
            late_share: 0.1,
            ..sample()
        };
        agree(&plan, &decode::Shape::Mapped(mapping), 5_000);
    }
}

#[test]
fn messages_in_avro_and_protobuf_become_the_same_as_in_json() {
    let shipped = Mappings::open(&crate::record::mapping::Config::default()).unwrap();
    for encoding in [Encoding::Avro(Vec::new()), Encoding::Protobuf(Vec::new())] {
        let plan = Plan {
            shape: Shape::Generic,
            by: By::DeviceId,
            bad_share: 0.2,
            poison_share: 0.05,
            late_share: 0.1,
            encoding,
            ..sample()
        };
        let mapping = shipped.load("generic").unwrap();
        agree(&plan, &decode::Shape::Mapped(mapping), 5_000);
    }
}
