//! Messages in the shapes of the mappings that come with the package (`config/mappings`), named by device id.
//!
//! A message is a position, or a position with one status; so it becomes at most one record of a type, and the identity
//! (serial, type, time) stays unique. A spoiled one is a position alone: mapping goes on with the records that are sound.
//! One with the marker has a vehicle identification number too, and only the record made of that is to be refused.

use super::binary::{Encoding, Position, Time};
use super::native::{Fix, fix, status};
use super::plan::{Device, Draw, Fate, Flaw, Plan, Shape};
use super::text::{put, put_fixed, put_int, put_padded, put_time, put_uint};
use crate::record::RecordType;

/// Types of the records a message becomes, in the order of the mappings.
#[must_use]
pub fn kinds(shape: Shape, draw: &Draw) -> &'static [RecordType] {
    if draw.fate == Fate::Refused {
        &[RecordType::Gps, RecordType::GenericStatus, RecordType::Vin]
    } else if has_status(shape, draw) {
        &[RecordType::Gps, RecordType::GenericStatus]
    } else {
        &[RecordType::Gps]
    }
}

/// The generic mapping makes a status of every `ignition`, which a position needs too.
fn has_status(shape: Shape, draw: &Draw) -> bool {
    let sound = !matches!(draw.fate, Fate::Rejected(_));
    sound && (shape == Shape::Generic || draw.kind != RecordType::Gps || draw.fate == Fate::Refused)
}

/// Appends one message.
pub fn put_message(out: &mut Vec<u8>, plan: &Plan, device: &Device, draw: &Draw) {
    let start = out.len();
    let flaw = match draw.fate {
        Fate::Rejected(flaw) => Some(flaw),
        Fate::Accepted | Fate::Refused => None,
    };
    let fix = fix(plan, device, draw.tick);
    // The status's code and raw value become the vendor's member and unit.
    let status = has_status(plan.shape, draw).then(|| status(plan, device, draw));
    let vin = (draw.fate == Fate::Refused).then_some(plan.poison_marker.as_str());
    let more = More { flaw, status, vin };
    if plan.encoding != Encoding::Json {
        let truncated = flaw == Some(Flaw::Truncated);
        return position(device, draw, &fix, more).put(out, &plan.encoding, truncated);
    }
    match plan.shape {
        Shape::Flespi => put_flespi(out, device, draw, &fix, more),
        Shape::Traccar => put_traccar(out, device, draw, &fix, more),
        Shape::Generic | Shape::Native | Shape::NativeArray => {
            put_generic(out, device, draw, &fix, more)
        }
    }
    if flaw == Some(Flaw::Truncated) {
        let len = out.len() - start;
        out.truncate(start + len / 2);
    }
}

/// What a message has beside the position.
#[derive(Clone, Copy)]
struct More<'a> {
    flaw: Option<Flaw>,
    /// Code and raw value.
    status: Option<(u32, i64)>,
    vin: Option<&'a str>,
}

fn put_text(out: &mut Vec<u8>, member: &str, text: &str) {
    put(out, ",\"");
    put(out, member);
    put(out, "\":\"");
    put(out, text);
    put(out, "\"");
}

fn put_latitude(out: &mut Vec<u8>, fix: &Fix, flaw: Option<Flaw>) {
    if flaw == Some(Flaw::WrongValue) {
        put(out, "\"north\"");
    } else {
        put_fixed(out, (fix.latitude * 1e5) as i64, 5);
    }
}

fn put_bool(out: &mut Vec<u8>, value: bool) {
    put(out, if value { "true" } else { "false" });
}

fn put_flespi(out: &mut Vec<u8>, device: &Device, draw: &Draw, fix: &Fix, more: More<'_>) {
    let More { flaw, status, vin } = more;
    put(out, r#"{"ident":""#);
    put(out, device.id());
    put(out, "\"");
    match flaw {
        Some(Flaw::NoTime) => {}
        Some(Flaw::TimeIsText) => put(out, r#","timestamp":"yesterday""#),
        _ => {
            put(out, r#","timestamp":"#);
            put_fixed(out, draw.time_us, 6);
        }
    }
    put(out, r#","position.latitude":"#);
    put_latitude(out, fix, flaw);
    put(out, r#","position.longitude":"#);
    put_fixed(out, (fix.longitude * 1e5) as i64, 5);
    put(out, r#","position.speed":"#);
    put_fixed(out, i64::from(fix.speed_dkmh), 1);
    put(out, r#","position.valid":true,"position.satellites":"#);
    put_uint(out, 6 + draw.bits % 12);
    put(out, r#","movement.status":"#);
    put_bool(out, fix.ignition);
    match status {
        None => {}
        Some((5, raw)) => {
            put(out, r#","can.vehicle.mileage":"#);
            put_fixed(out, raw, 1);
        }
        Some((98, raw)) => {
            put(out, r#","can.fuel.level":"#);
            put_int(out, raw * 100 / 256);
        }
        Some((107, raw)) => {
            put(out, r#","can.engine.rpm":"#);
            put_int(out, raw / 4);
        }
        Some(_) => {
            put(out, r#","engine.ignition.status":"#);
            put_bool(out, fix.ignition);
        }
    }
    if let Some(vin) = vin {
        put_text(out, "vehicle.vin", vin);
    }
    out.push(b'}');
}

fn put_traccar(out: &mut Vec<u8>, device: &Device, draw: &Draw, fix: &Fix, more: More<'_>) {
    let More { flaw, status, vin } = more;
    put(out, r#"{"position":{"id":"#);
    put_uint(out, draw.tick + 1);
    put(out, r#","deviceId":"#);
    put_uint(out, u64::from(device.index) + 1);
    put(out, r#","protocol":"teltonika""#);
    match flaw {
        Some(Flaw::NoTime) => {}
        Some(Flaw::TimeIsText) => put(out, r#","fixTime":"yesterday""#),
        _ => {
            put(out, r#","fixTime":""#);
            put_time(out, draw.time_us);
            out.pop();
            put(out, r#"+00:00""#);
        }
    }
    put(out, r#","valid":true,"latitude":"#);
    put_latitude(out, fix, flaw);
    put(out, r#","longitude":"#);
    put_fixed(out, (fix.longitude * 1e5) as i64, 5);
    put(out, r#","altitude":0.0,"speed":"#);
    // Tenths of km/h to thousandths of a knot.
    put_fixed(out, (f64::from(fix.speed_dkmh) * 100.0 / 1.852) as i64, 3);
    put(out, r#","course":0.0,"attributes":{"motion":"#);
    put_bool(out, fix.ignition);
    match status {
        None => {}
        Some((5, raw)) => {
            put(out, r#","odometer":"#);
            put_int(out, raw * 100);
        }
        Some((98, raw)) => {
            put(out, r#","fuelLevel":"#);
            put_int(out, raw * 100 / 256);
        }
        Some((107, raw)) => {
            put(out, r#","rpm":"#);
            put_int(out, raw / 4);
        }
        Some(_) => {
            put(out, r#","ignition":"#);
            put_bool(out, fix.ignition);
        }
    }
    if let Some(vin) = vin {
        put_text(out, "vin", vin);
    }
    put(out, r#"}},"device":{"id":"#);
    put_uint(out, u64::from(device.index) + 1);
    put(out, r#","name":"unit "#);
    put_padded(out, u64::from(device.index), 6);
    put(out, r#"","uniqueId":""#);
    put(out, device.id());
    put(out, r#"","status":"online"}}"#);
}

/// What a message of the shape `generic` says, for forms other than JSON.
fn position<'a>(device: &'a Device, draw: &Draw, fix: &Fix, more: More<'a>) -> Position<'a> {
    let latitude = match more.flaw {
        // More than the gateway's numbers hold, as there is no text where a number belongs.
        Some(Flaw::WrongValue) => 1e39,
        _ => fix.latitude,
    };
    Position {
        device: device.id(),
        time: match more.flaw {
            Some(Flaw::NoTime) => Time::Absent,
            Some(Flaw::TimeIsText) => Time::Nonsense,
            _ => Time::Micros(draw.time_us),
        },
        latitude,
        longitude: fix.longitude,
        speed: f64::from(fix.speed_dkmh) / 10.0,
        ignition: more.flaw.is_none().then_some(fix.ignition),
        vin: more.vin,
    }
}

fn put_generic(out: &mut Vec<u8>, device: &Device, draw: &Draw, fix: &Fix, more: More<'_>) {
    let More { flaw, vin, .. } = more;
    put(out, r#"{"device":""#);
    put(out, device.id());
    put(out, "\"");
    match flaw {
        Some(Flaw::NoTime) => {}
        Some(Flaw::TimeIsText) => put(out, r#","time":"yesterday""#),
        _ => {
            put(out, r#","time":""#);
            put_time(out, draw.time_us);
            put(out, "\"");
        }
    }
    put(out, r#","lat":"#);
    put_latitude(out, fix, flaw);
    put(out, r#","lon":"#);
    put_fixed(out, (fix.longitude * 1e5) as i64, 5);
    put(out, r#","speed":"#);
    put_fixed(out, i64::from(fix.speed_dkmh), 1);
    if flaw.is_none() {
        put(out, r#","ignition":"#);
        put_bool(out, fix.ignition);
    }
    if let Some(vin) = vin {
        put_text(out, "vin", vin);
    }
    out.push(b'}');
}
