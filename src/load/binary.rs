//! Messages of the shape `generic` as Avro or Protobuf: the schemas, and the bytes.
//!
//! Written by hand, as a vendor's own code would: nothing is shared with the decoders that read it.

/// How messages are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Json,
    /// With what stands before every message: a schema registry's header, or nothing.
    Avro(Vec<u8>),
    /// As above; the header ends with the place of the message type.
    Protobuf(Vec<u8>),
}

/// The schema of Avro messages.
pub const AVRO: &str = r#"{"type":"record","name":"Position","namespace":"load","fields":[
 {"name":"device","type":"string"},
 {"name":"time","type":["null",{"type":"long","logicalType":"timestamp-micros"},"string"]},
 {"name":"lat","type":"double"},
 {"name":"lon","type":"double"},
 {"name":"speed","type":"double"},
 {"name":"ignition","type":["null","boolean"]},
 {"name":"vin","type":["null","string"]}]}
"#;

/// The schema of Protobuf messages.
pub const PROTOBUF: &str = r#"syntax = "proto3";
package load;
import "google/protobuf/timestamp.proto";
message Position {
  string device = 1;
  google.protobuf.Timestamp time = 2;
  double lat = 3;
  double lon = 4;
  double speed = 5;
  optional bool ignition = 6;
  optional string vin = 7;
}
"#;

/// Seconds of a time that no calendar has.
const NO_TIME: i64 = i64::MAX / 4;

/// A time as a message has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Absent,
    Micros(i64),
    /// Something that is no time.
    Nonsense,
}

/// What a message says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a> {
    pub device: &'a str,
    pub time: Time,
    pub latitude: f64,
    pub longitude: f64,
    pub speed: f64,
    pub ignition: Option<bool>,
    pub vin: Option<&'a str>,
}

impl Position<'_> {
    /// Appends the message; a truncated one ends within the device's name.
    pub fn put(&self, out: &mut Vec<u8>, encoding: &Encoding, truncated: bool) {
        let (header, avro) = match encoding {
            Encoding::Json => return,
            Encoding::Avro(header) => (header, true),
            Encoding::Protobuf(header) => (header, false),
        };
        out.extend_from_slice(header);
        let start = out.len();
        if avro {
            self.put_avro(out);
        } else {
            self.put_protobuf(out);
        }
        if truncated {
            out.truncate(start + 8);
        }
    }

    fn put_avro(&self, out: &mut Vec<u8>) {
        put_text(out, self.device);
        match self.time {
            Time::Absent => put_long(out, 0),
            Time::Micros(micros) => {
                put_long(out, 1);
                put_long(out, micros);
            }
            Time::Nonsense => {
                put_long(out, 2);
                put_text(out, "yesterday");
            }
        }
        for value in [self.latitude, self.longitude, self.speed] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        match self.ignition {
            None => put_long(out, 0),
            Some(on) => {
                put_long(out, 1);
                out.push(u8::from(on));
            }
        }
        match self.vin {
            None => put_long(out, 0),
            Some(vin) => {
                put_long(out, 1);
                put_text(out, vin);
            }
        }
    }

    fn put_protobuf(&self, out: &mut Vec<u8>) {
        put_field(out, 1, self.device.as_bytes());
        let time = match self.time {
            Time::Absent => None,
            Time::Micros(micros) => Some((
                micros.div_euclid(1_000_000),
                micros.rem_euclid(1_000_000) * 1000,
            )),
            Time::Nonsense => Some((NO_TIME, 0)),
        };
        if let Some((seconds, nanos)) = time {
            let mut inner = vec![1 << 3];
            put_varint(&mut inner, seconds as u64);
            inner.push(2 << 3);
            put_varint(&mut inner, nanos as u64);
            put_field(out, 2, &inner);
        }
        for (number, value) in (3..).zip([self.latitude, self.longitude, self.speed]) {
            out.push(number << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
        if let Some(on) = self.ignition {
            out.extend_from_slice(&[6 << 3, u8::from(on)]);
        }
        if let Some(vin) = self.vin {
            put_field(out, 7, vin.as_bytes());
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_long(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// A field of bytes with a length.
fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
