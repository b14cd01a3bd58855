//! Records in DIG's shape, with values a fleet could send: vehicles that drive rounds and park, diagnostics in their raw
//! units, codes inside the ranges of the OpenAPI.

use super::plan::{By, Device, Draw, Fate, Flaw, Plan};
use super::text::{
    put, put_base64, put_fixed, put_hex, put_int, put_local_time, put_padded, put_time, put_uint,
    spread,
};
use crate::record::RecordType;

/// Centres of the rounds, degrees, with the cosine of the latitude.
const CITIES: [(f64, f64, f64); 8] = [
    (43.653, -79.383, 0.7235),
    (52.520, 13.405, 0.6085),
    (40.417, -3.704, 0.7613),
    (-23.551, -46.633, 0.9167),
    (48.857, 2.352, 0.6580),
    (33.749, -84.388, 0.8315),
    (-33.869, 151.209, 0.8303),
    (59.329, 18.069, 0.5101),
];

/// Speed over one round of reports, in sixteenths of the device's cruising speed; zeros are parked with ignition off.
const PROFILE: [u8; 64] = [
    0, 3, 7, 11, 14, 15, 16, 16, 16, 15, 12, 6, 0, 5, 10, 14, 16, 16, 16, 16, 15, 15, 16, 16, 13,
    8, 4, 9, 13, 16, 16, 16, 16, 15, 14, 15, 16, 16, 14, 9, 4, 2, 7, 12, 15, 16, 16, 12, 7, 3, 1,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Reports from this one of a round on are sent parked.
const PARKED_FROM: u64 = 52;

/// Sum of the profile before each report, and of the whole round at the end.
const DRIVEN: [u32; 65] = {
    let mut driven = [0; 65];
    let mut at = 0;
    while at < 64 {
        driven[at + 1] = driven[at] + PROFILE[at] as u32;
        at += 1;
    }
    driven
};

/// Where a vehicle is and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// Degrees.
    pub latitude: f64,
    pub longitude: f64,
    /// Tenths of km/h.
    pub speed_dkmh: u32,
    pub ignition: bool,
    /// Driven since the first report, metres.
    pub distance_m: f64,
}

/// The vehicle drives a ring road at the profile's speed, so that speed, distance and positions agree.
#[must_use]
pub fn fix(plan: &Plan, device: &Device, tick: u64) -> Fix {
    let own = spread(device.key ^ 0x7061_7468);
    let (centre_lat, centre_lon, narrowing) = CITIES[(own & 7) as usize];
    let cruise_kmh = 45.0 + (own >> 3 & 63) as f64;
    let radius_m = 2_000.0 + (own >> 9 & 0x1fff) as f64;
    let phase = (own >> 22 & 0xffff) as f64 * (std::f64::consts::TAU / 65_536.0);
    let east = (own >> 38 & 0xff) as f64 / 1_000.0;
    let report = tick + (own >> 46 & 63);
    let (round, at) = (report / 64, (report % 64) as usize);
    let sixteenths = round as f64 * f64::from(DRIVEN[64]) + f64::from(DRIVEN[at]);
    let metres_per_sixteenth = cruise_kmh / 16.0 / 3.6 * (plan.step_us as f64 / 1e6);
    let distance_m = sixteenths * metres_per_sixteenth;
    let (sin, cos) = (distance_m / radius_m + phase).sin_cos();
    let degrees = radius_m / 111_320.0;
    Fix {
        latitude: centre_lat + degrees * sin,
        longitude: centre_lon + east + degrees * cos / narrowing,
        speed_dkmh: (f64::from(PROFILE[at]) * cruise_kmh * 10.0 / 16.0) as u32,
        ignition: (at as u64) < PARKED_FROM,
        distance_m,
    }
}

/// The (code, raw value) of a status: published diagnostics of the telematics device in their raw units
/// (dig/API.md section 9).
#[must_use]
pub fn status(plan: &Plan, device: &Device, draw: &Draw) -> (u32, i64) {
    let fix = fix(plan, device, draw.tick);
    match draw.bits % 5 {
        // Odometer in steps of 100 m, fuel level in 0.3921 %, engine speed in quarters of a revolution per minute.
        0 => (
            5,
            120_000 + (device.key % 900_000) as i64 + (fix.distance_m / 100.0) as i64,
        ),
        1 => (
            98,
            255 - ((fix.distance_m / 2_000.0) as i64 + (device.key & 63) as i64) % 230,
        ),
        2 => (
            107,
            if fix.ignition {
                3_000 + i64::from(fix.speed_dkmh) * 8
            } else {
                0
            },
        ),
        3 => (2185, i64::from(fix.speed_dkmh / 10)),
        _ => (10_000, i64::from(fix.ignition)),
    }
}

/// The vehicle identification number of a device, with a correct check digit; of a refused record, the marker.
pub fn put_vin(out: &mut Vec<u8>, plan: &Plan, device: &Device, fate: Fate) {
    const LETTERS: &[u8; 33] = b"0123456789ABCDEFGHJKLMNPRSTUVWXYZ";
    const VALUES: [u32; 33] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6,
        7, 8, 9,
    ];
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if fate == Fate::Refused {
        put(out, &plan.poison_marker);
        return;
    }
    let mut bits = spread(device.key ^ 0x0076_696e);
    let mut vin = [0_usize; 17];
    for (at, place) in vin.iter_mut().enumerate() {
        *place = if at > 11 {
            (bits % 10) as usize
        } else {
            (bits % 33) as usize
        };
        bits = spread(bits);
    }
    let sum: u32 = vin
        .iter()
        .zip(WEIGHTS)
        .map(|(place, weight)| VALUES[*place] * weight)
        .sum();
    for (at, place) in vin.iter().enumerate() {
        out.push(match (at, sum % 11) {
            (8, 10) => b'X',
            (8, rest) => b'0' + rest as u8,
            _ => LETTERS[*place],
        });
    }
}

/// Appends one record as a JSON object.
pub fn put_record(out: &mut Vec<u8>, plan: &Plan, device: &Device, draw: &Draw) {
    let start = out.len();
    let flaw = match draw.fate {
        Fate::Rejected(flaw) => Some(flaw),
        Fate::Accepted | Fate::Refused => None,
    };
    out.push(b'{');
    if flaw != Some(Flaw::NoType) {
        put(out, r#""Type":""#);
        put(out, draw.kind.name());
        put(
            out,
            if flaw == Some(Flaw::UnknownType) {
                "s\","
            } else {
                "\","
            },
        );
    }
    match flaw {
        Some(Flaw::NoTime) => {}
        Some(Flaw::TimeIsText) => put(out, r#""DateTime":"yesterday","#),
        Some(Flaw::TimeWithoutZone) => {
            put(out, r#""DateTime":""#);
            put_local_time(out, draw.time_us);
            put(out, "\",");
        }
        _ => put_date_time(out, draw.time_us),
    }
    if flaw == Some(Flaw::TimeTwice) {
        put_date_time(out, draw.time_us);
    }
    let (member, subject) = match plan.by {
        By::Serial => (r#""SerialNo":""#, device.serial()),
        By::DeviceId => (r#""DeviceId":""#, device.id()),
    };
    put(out, member);
    put(
        out,
        if flaw == Some(Flaw::EmptySubject) {
            ""
        } else {
            subject
        },
    );
    out.push(b'"');
    put_members(out, plan, device, draw, flaw == Some(Flaw::WrongValue));
    out.push(b'}');
    if flaw == Some(Flaw::Truncated) {
        let len = out.len() - start;
        out.truncate(start + len / 2);
    }
}

fn put_date_time(out: &mut Vec<u8>, us: i64) {
    put(out, r#""DateTime":""#);
    put_time(out, us);
    put(out, "\",");
}

fn member(out: &mut Vec<u8>, name: &str, value: i64) {
    put(out, ",\"");
    put(out, name);
    put(out, "\":");
    put_int(out, value);
}

fn flag(out: &mut Vec<u8>, name: &str, value: bool) {
    put(out, ",\"");
    put(out, name);
    put(out, if value { "\":true" } else { "\":false" });
}

/// What follows the members every record has. `wrong` puts one value outside what the OpenAPI allows.
fn put_members(out: &mut Vec<u8>, plan: &Plan, device: &Device, draw: &Draw, wrong: bool) {
    let bits = draw.bits;
    let pick = |choices: &[i64]| choices[(bits >> 8) as usize % choices.len()];
    let active = bits & 4 == 0;
    match draw.kind {
        RecordType::Gps => {
            let fix = fix(plan, device, draw.tick);
            put(out, r#","Latitude":"#);
            if wrong {
                put(out, "\"north\"");
            } else {
                put_fixed(out, (fix.latitude * 1e5) as i64, 5);
            }
            put(out, r#","Longitude":"#);
            put_fixed(out, (fix.longitude * 1e5) as i64, 5);
            put(out, r#","Speed":"#);
            put_fixed(out, i64::from(fix.speed_dkmh), 1);
            put(out, r#","IsGpsValid":true"#);
            flag(out, "IsIgnitionOn", fix.ignition);
        }
        RecordType::Acceleration => {
            member(
                out,
                "X",
                if wrong {
                    40_000
                } else {
                    (bits % 600) as i64 - 300
                },
            );
            member(out, "Y", (bits >> 16) as i64 % 400 - 200);
            member(out, "Z", 1_000 + (bits >> 32) as i64 % 120 - 60);
        }
        RecordType::GenericStatus => {
            let (code, value) = status(plan, device, draw);
            member(out, "Code", if wrong { 700 } else { i64::from(code) });
            member(out, "Value", value);
        }
        RecordType::Status => {
            // Battery voltage in mV, temperature in hundredths, signal, battery level.
            let (code, value) = match bits % 4 {
                0 => (5, 12_000 + (bits >> 8) as i64 % 2_400),
                1 => (6, 2_200 + (bits >> 8) as i64 % 900),
                2 => (7, (bits >> 8) as i64 % 32),
                _ => (9, (bits >> 8) as i64 % 101),
            };
            member(out, "Code", if wrong { 1_999 } else { code });
            member(out, "Value", value);
        }
        RecordType::GenericFault => {
            member(
                out,
                "Code",
                if wrong {
                    127
                } else {
                    pick(&[135, 166, 466, 1_042, 1_999])
                },
            );
            flag(out, "FaultStateActive", active);
        }
        RecordType::J1708Fault => {
            member(out, "MessageId", pick(&[128, 130, 136, 140]));
            let part = if bits & 8 == 0 {
                "ParameterId"
            } else {
                "SubsystemId"
            };
            member(out, part, pick(&[84, 100, 110, 168, 190]));
            member(
                out,
                "FailureModeIdentifier",
                if wrong { 16 } else { (bits >> 16) as i64 % 16 },
            );
            member(out, "OccurrenceCount", 1 + (bits >> 24) as i64 % 126);
            flag(out, "FaultStateActive", active);
        }
        RecordType::J1939Fault => {
            member(
                out,
                "SuspectParameterNumber",
                pick(&[94, 100, 110, 190, 1_569, 3_251, 5_246]),
            );
            member(out, "FailureModeIdentifier", (bits >> 16) as i64 % 32);
            member(
                out,
                "OccurrenceCount",
                if wrong {
                    256
                } else {
                    1 + (bits >> 24) as i64 % 126
                },
            );
            member(out, "SourceAddress", pick(&[0, 3, 11, 61]));
            flag(out, "MalfunctionLamp", bits & 16 == 0);
            flag(out, "AmberWarningLamp", bits & 32 == 0);
            flag(out, "FaultStateActive", active);
        }
        RecordType::ObdiiFault => {
            put(out, r#","Code":""#);
            if !wrong {
                out.push(b"PCBU"[(bits >> 12) as usize % 4]);
                put_padded(out, 100 + (bits >> 16) % 800, 4);
            }
            out.push(b'"');
            flag(out, "FaultStateActive", active);
        }
        RecordType::DriverChange => {
            member(out, "KeyType", 84);
            put(out, r#","DriverId":""#);
            if wrong {
                put(out, "not base64!");
            } else {
                put_base64(out, &spread(device.key ^ (draw.tick / 512)).to_be_bytes());
            }
            out.push(b'"');
        }
        RecordType::Binary => {
            put(out, r#","Data":""#);
            if !wrong {
                let mut bytes = [0_u8; 48];
                for (at, eight) in bytes.chunks_mut(8).enumerate() {
                    eight.copy_from_slice(&spread(bits ^ at as u64).to_le_bytes());
                }
                put_base64(out, &bytes[..1 + (bits % 48) as usize]);
            }
            out.push(b'"');
        }
        RecordType::Bluetooth => {
            put(out, r#","Address":""#);
            if wrong {
                put(out, "nowhere");
            } else {
                let beacon = spread(device.key ^ (bits & 1));
                for at in 0..6 {
                    if at > 0 {
                        out.push(b':');
                    }
                    put_hex(out, beacon >> (8 * at) & 0xff, 2);
                }
            }
            // Temperature, humidity or fuel, by the numbers of the vendor's beacons.
            let (data_type, tenths) = match bits % 3 {
                0 => (7, (bits >> 8) as i64 % 400 - 50),
                1 => (9, (bits >> 8) as i64 % 1_000),
                _ => (23, (bits >> 8) as i64 % 1_000),
            };
            put(out, r#"","Data":"#);
            put_fixed(out, tenths, 1);
            put(out, r#","DataType":"#);
            put_uint(out, data_type);
        }
        RecordType::Vin => {
            put(out, r#","VehicleIdentificationNumber":""#);
            if !wrong {
                put_vin(out, plan, device, draw.fate);
            }
            out.push(b'"');
        }
    }
}
