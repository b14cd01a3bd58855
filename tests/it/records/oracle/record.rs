//! The second opinion on one record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use dig_ingest::record::diagnostics::Diagnostics;

use super::{Tree, Verdict};

macro_rules! regex {
    ($pattern:expr $(,)?) => {{
        static REGEX: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($pattern).unwrap());
        &*REGEX
    }};
}

/// Members by type: name, kind (n number, i integer, b bool, s text, c trouble code, 6 Base64, a address, v VIN), and whether required.
fn shape(kind: &str) -> &'static str {
    match kind {
        "AccelerationRecord" => "X i!,Y i!,Z i!",
        "BinaryRecord" => "Data 6!",
        "BluetoothRecord" => "Address a!,Data n!,DataType i!",
        "DriverChangeRecord" => "KeyType i!,DriverId 6!",
        "GenericFaultRecord" => "Code i!,FaultStateActive b",
        "GenericStatusRecord" | "StatusRecord" => "Code i!,Value i!",
        "GpsRecord" => {
            "Latitude n!,Longitude n!,Speed n,IsGpsValid b,IsIgnitionOn b,IsAuxiliary1On b,IsAuxiliary2On b,\
             IsAuxiliary3On b,IsAuxiliary4On b,IsAuxiliary5On b,IsAuxiliary6On b,IsAuxiliary7On b,IsAuxiliary8On b"
        }
        "J1708FaultRecord" => {
            "MessageId i!,ParameterId i,SubsystemId i,FailureModeIdentifier i!,OccurrenceCount i!,FaultStateActive b!"
        }
        "J1939FaultRecord" => {
            "SuspectParameterNumber i!,FailureModeIdentifier i!,OccurrenceCount i!,SourceAddress i!,MalfunctionLamp b,\
             RedStopLamp b,AmberWarningLamp b,ProtectWarningLamp b,FaultStateActive b!"
        }
        "ObdiiFaultRecord" => "Code c!,FaultStateActive b!",
        "VinRecord" => "VehicleIdentificationNumber v!",
        _ => "",
    }
}

const TYPES: [&str; 12] = [
    "AccelerationRecord",
    "BinaryRecord",
    "BluetoothRecord",
    "DriverChangeRecord",
    "GenericFaultRecord",
    "GenericStatusRecord",
    "GpsRecord",
    "J1708FaultRecord",
    "J1939FaultRecord",
    "ObdiiFaultRecord",
    "StatusRecord",
    "VinRecord",
];

/// The members whose order decides which foreign one is named.
const ORDER: &str = "Type DateTime SerialNo DeviceId Latitude Longitude Speed IsGpsValid IsIgnitionOn IsAuxiliary1On \
    IsAuxiliary2On IsAuxiliary3On IsAuxiliary4On IsAuxiliary5On IsAuxiliary6On IsAuxiliary7On IsAuxiliary8On X Y Z Code \
    Value MessageId ParameterId SubsystemId SuspectParameterNumber FailureModeIdentifier OccurrenceCount SourceAddress \
    MalfunctionLamp RedStopLamp AmberWarningLamp ProtectWarningLamp FaultStateActive KeyType DriverId Address Data \
    DataType VehicleIdentificationNumber";

static SHIPPED: LazyLock<Diagnostics> =
    LazyLock::new(|| Diagnostics::shipped().expect("the shipped table"));

type Broken = (&'static str, String);

pub struct Case<'a> {
    pub notes: BTreeSet<&'static str>,
    pub rewrite: bool,
    /// The seventh fraction digit.
    pub tick: String,
    /// Type, instant and sub-key.
    pub key: String,
    pub serial_of: &'a dyn Fn(&str) -> Option<String>,
    pub now: i64,
}

impl Case<'_> {
    fn repaired(&mut self, rule: &'static str) {
        self.notes.insert(rule);
        self.rewrite = true;
    }

    pub fn record(
        &mut self,
        members: &[(String, Tree, String)],
        source: &str,
    ) -> Result<Verdict, Broken> {
        let mut named = BTreeSet::new();
        let mut values: BTreeMap<&str, (&Tree, &str)> = BTreeMap::new();
        for (key, value, source) in members {
            let Some(name) = ORDER
                .split_whitespace()
                .find(|name| name.eq_ignore_ascii_case(key))
            else {
                if matches!(value, Tree::Null) {
                    self.repaired("record.member.null");
                    continue;
                }
                return Err(("record.member.unknown", key.chars().take(120).collect()));
            };
            if name != key {
                self.repaired("record.member.case");
            }
            if !named.insert(name) {
                return Err(("record.member.duplicate", name.to_owned()));
            }
            if matches!(value, Tree::Null) {
                self.repaired("record.member.null");
            } else {
                values.insert(name, (value, source));
            }
        }
        let text = |name: &str| match values.get(name) {
            None => Err(("record.member.missing", name.to_owned())),
            Some((Tree::Text(text), _)) => Ok(text.as_str()),
            Some(_) => Err(("record.member.json", name.to_owned())),
        };
        let given = text("Type")?;
        let Some(kind) = TYPES
            .into_iter()
            .find(|kind| kind.eq_ignore_ascii_case(given))
        else {
            return Err(("record.type.name", "Type".to_owned()));
        };
        if kind != given {
            self.repaired("record.type.case");
        }
        let fields: Vec<(&str, &str)> = shape(kind)
            .split(',')
            .filter_map(|field| field.trim().split_once(' '))
            .collect();
        for name in ORDER.split_whitespace().skip(4) {
            if values.contains_key(name) && !fields.iter().any(|(field, _)| *field == name) {
                return Err(("record.member.unknown", name.to_owned()));
            }
        }
        let (datetime, micros) = self.datetime(text("DateTime")?)?;
        let mut device_id = None;
        let serial = if values.contains_key("SerialNo") {
            let serial = text("SerialNo")?;
            if values.contains_key("DeviceId") {
                self.repaired("record.device_id.dropped");
            }
            // The serial's own bytes must be found in the record.
            let (_, source) = values["SerialNo"];
            self.rewrite |= source != format!("\"{serial}\"");
            self.serial(serial)?
        } else if let Some((id, _)) = values.get("DeviceId") {
            let Tree::Text(id) = id else {
                return Err(("record.device_id.form", "DeviceId".to_owned()));
            };
            let id = id.trim();
            if id.is_empty() || id.chars().count() > 128 || id.chars().any(char::is_control) {
                return Err(("record.device_id.form", "DeviceId".to_owned()));
            }
            self.rewrite = true;
            device_id = Some(id.to_owned());
            match (self.serial_of)(id) {
                Some(serial) => self.serial(&serial)?,
                None => String::new(),
            }
        } else {
            return Err(("record.member.missing", "SerialNo".to_owned()));
        };
        let mut written = String::new();
        for (name, kind_and_need) in fields {
            let Some(&(value, source)) = values.get(name) else {
                match (kind, name) {
                    _ if kind_and_need.ends_with('!') => {
                        return Err(("record.member.missing", name.to_owned()));
                    }
                    ("GpsRecord", "IsGpsValid") => self.notes.insert("gps.is_gps_valid.absent"),
                    ("GpsRecord", "IsIgnitionOn") => self.notes.insert("gps.is_ignition_on.absent"),
                    ("GenericFaultRecord", _) => {
                        self.notes.insert("generic_fault.fault_state_active.absent")
                    }
                    _ => false,
                };
                continue;
            };
            let fail = |rule| Err((rule, name.to_owned()));
            let out = match (&kind_and_need[..1], value) {
                ("b", Tree::Bool(value)) => value.to_string(),
                ("n", Tree::Float(value)) if !(*value as f32).is_finite() => {
                    return fail("record.member.float32");
                }
                ("n", Tree::Float(value)) => {
                    self.number(kind, name, *value)?;
                    source.to_owned()
                }
                ("n" | "i", Tree::Int(value)) => {
                    self.number(kind, name, *value as f64)?;
                    source.to_owned()
                }
                ("6", Tree::Text(text)) => {
                    base64(kind, name, text)?;
                    serde_json::to_string(text).unwrap()
                }
                ("c", Tree::Text(text)) => {
                    if text.is_empty() || text.chars().count() > 10 {
                        return fail("obdii.code.length");
                    }
                    if !regex!("^[PCBU][0-9A-F]{4}$").is_match(text) {
                        self.notes.insert("obdii.code.shape");
                    }
                    serde_json::to_string(text).unwrap()
                }
                ("a", Tree::Text(text)) => {
                    let form = regex!(
                        "^([0-9A-Fa-f]{12}|([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|\
                         ([0-9A-Fa-f]{2}[.]){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2} ){5}[0-9A-Fa-f]{2})$",
                    );
                    if !form.is_match(text) {
                        return fail("bluetooth.address.form");
                    }
                    let digits: Vec<char> = text
                        .to_uppercase()
                        .chars()
                        .filter(char::is_ascii_hexdigit)
                        .collect();
                    let pairs: Vec<String> =
                        digits.chunks(2).map(|pair| pair.iter().collect()).collect();
                    if pairs.join(":") != *text {
                        self.repaired("bluetooth.address.normalised");
                    }
                    format!("{:?}", pairs.join(":"))
                }
                ("v", Tree::Text(text)) => serde_json::to_string(&self.vin(text)?).unwrap(),
                _ => return fail("record.member.json"),
            };
            written.push_str(&format!(",{name:?}:{out}"));
        }
        let number = |name: &str| match values.get(name) {
            Some((Tree::Int(value), _)) => Some(*value as f64),
            Some((Tree::Float(value), _)) => Some(*value),
            _ => None,
        };
        let valid = matches!(values.get("IsGpsValid"), Some((Tree::Bool(true), _)));
        if kind == "GpsRecord"
            && valid
            && number("Latitude") == Some(0.0)
            && number("Longitude") == Some(0.0)
        {
            self.notes.insert("gps.position.zero");
        }
        if kind == "J1708FaultRecord"
            && values.contains_key("ParameterId") == values.contains_key("SubsystemId")
        {
            self.notes.insert("j1708.parameter_or_subsystem.one");
        }
        if let ("GenericStatusRecord", Some(code), Some(value)) =
            (kind, number("Code"), number("Value"))
        {
            match SHIPPED
                .entries()
                .iter()
                .find(|entry| entry.record.name() == kind && f64::from(entry.code) == code)
            {
                None => self.notes.insert("generic_status.code.unknown"),
                Some(known) if known.fit(value).is_err() => {
                    self.notes.insert("generic_status.value.length")
                }
                Some(_) => false,
            };
        }
        if kind == "DriverChangeRecord" && micros > self.now {
            self.notes.insert("driver_change.datetime.future");
        }
        let sub = match kind {
            "StatusRecord" | "GenericStatusRecord" | "GenericFaultRecord" | "ObdiiFaultRecord" => {
                "Code"
            }
            "J1708FaultRecord" => "MessageId ParameterId SubsystemId FailureModeIdentifier",
            "J1939FaultRecord" => "SuspectParameterNumber FailureModeIdentifier SourceAddress",
            "BluetoothRecord" => "Address DataType",
            _ => "",
        };
        let sub = sub
            .split_whitespace()
            .map(|name| format!("{:?}", values.get(name).map(|(tree, _)| tree)));
        self.key = format!(
            "{kind} {micros} {} {:?}",
            self.tick,
            sub.collect::<Vec<_>>()
        );
        if let Some(device_id) = device_id.filter(|id| (self.serial_of)(id).is_none()) {
            return Ok(Verdict::Unknown { device_id });
        }
        let bytes = if self.rewrite {
            format!(r#"{{"Type":"{kind}","DateTime":"{datetime}","SerialNo":"{serial}"{written}}}"#)
        } else {
            source.to_owned()
        };
        Ok(Verdict::Valid { bytes, serial })
    }

    fn datetime(&mut self, text: &str) -> Result<(String, i64), Broken> {
        let form = regex!(
            r"^(?i)([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9])(\.[0-9]{1,7})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$"
        );
        let bad = || ("record.datetime.form", "DateTime".to_owned());
        let parts = form.captures(text).ok_or_else(bad)?;
        let civil: jiff::civil::DateTime = parts[1].to_uppercase().parse().map_err(|_| bad())?;
        if civil.year() < 1 {
            return Err(bad());
        }
        let zone = parts
            .get(3)
            .map(|zone| zone.as_str())
            .ok_or(("record.datetime.zone", "DateTime".to_owned()))?;
        let fraction = parts.get(2).map_or("", |fraction| &fraction.as_str()[1..]);
        self.tick = fraction
            .get(6..)
            .filter(|tick| *tick != "0")
            .unwrap_or("")
            .to_owned();
        let sixth: i64 = format!("{fraction:0<6}")[..6].parse().unwrap();
        let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let offset = match zone {
            "Z" | "z" => 0,
            zone => {
                let minutes: i64 =
                    zone[1..3].parse::<i64>().unwrap() * 60 + zone[4..].parse::<i64>().unwrap();
                if zone.starts_with('-') {
                    -minutes
                } else {
                    minutes
                }
            }
        };
        let seconds = civil.duration_since(epoch).as_secs() - offset * 60;
        let utc = epoch
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .map_err(|_| bad())?;
        if utc.year() < 1 {
            return Err(bad());
        }
        let micros = seconds * 1_000_000 + sixth;
        if micros < self.now - 365 * 86_400_000_000 {
            self.notes.insert("record.datetime.past");
        }
        if micros > self.now + 300_000_000 {
            self.notes.insert("record.datetime.future");
        }
        if zone == "Z" && text.contains('T') {
            return Ok((text.to_owned(), micros));
        }
        self.repaired("record.datetime.utc");
        Ok((
            format!(
                "{}.{sixth:06}{}Z",
                utc.strftime("%Y-%m-%dT%H:%M:%S"),
                self.tick
            ),
            micros,
        ))
    }

    fn serial(&mut self, given: &str) -> Result<String, Broken> {
        let serial = regex!(r"[\p{White_Space}--\p{Cc}]|[-\u{200B}\u{FEFF}]")
            .replace_all(given, "")
            .trim()
            .to_ascii_uppercase();
        if serial != given {
            self.repaired("record.serial.normalised");
        }
        if serial
            .chars()
            .any(|c| c.is_control() || c == '"' || c == '\\')
        {
            return Err(("record.serial.text", "SerialNo".to_owned()));
        }
        if serial.is_empty() || serial.chars().count() > 50 {
            return Err(("record.serial.length", "SerialNo".to_owned()));
        }
        if !regex!("^[A-Z0-9]{12}$").is_match(&serial) {
            self.notes.insert("record.serial.shape");
        }
        Ok(serial)
    }

    fn number(&mut self, kind: &str, name: &str, value: f64) -> Result<(), Broken> {
        let int32 = (-2_147_483_648.0..=2_147_483_647.0).contains(&value);
        let byte = (0.0..=255.0).contains(&value);
        // Rejecting rules in their order, then what is only counted.
        let broken = match (kind, name) {
            ("AccelerationRecord", _) if !(-32768.0..=32767.0).contains(&value) => {
                "acceleration.axis.range"
            }
            ("StatusRecord" | "GenericStatusRecord", "Code") if !int32 => "status.code.int32",
            ("StatusRecord", "Code") if (128.0..=1999.0).contains(&value) => "status.code.dropped",
            ("GenericStatusRecord", "Code") if (128.0..=1999.0).contains(&value) => {
                "generic_status.code.dropped"
            }
            ("GenericStatusRecord", "Value") if !int32 => "generic_status.value.int32",
            ("StatusRecord", "Value") if !int32 => "status.value.int32",
            ("GenericFaultRecord", "Code") if !(128.0..=1999.0).contains(&value) => {
                "generic_fault.code.range"
            }
            ("J1708FaultRecord", "MessageId") if !byte => "j1708.message_id.range",
            ("J1708FaultRecord", "ParameterId") if !(0.0..=511.0).contains(&value) => {
                "j1708.parameter_id.range"
            }
            ("J1708FaultRecord", "SubsystemId") if !(0.0..=511.0).contains(&value) => {
                "j1708.subsystem_id.range"
            }
            ("J1708FaultRecord", "FailureModeIdentifier") if !(0.0..=15.0).contains(&value) => {
                "j1708.failure_mode.range"
            }
            ("J1708FaultRecord", "OccurrenceCount") if !byte => "j1708.occurrence_count.range",
            ("J1939FaultRecord", "FailureModeIdentifier") if !byte => "j1939.failure_mode.range",
            ("J1939FaultRecord", "OccurrenceCount") if !byte => "j1939.occurrence_count.range",
            ("J1939FaultRecord", "SourceAddress") if !byte => "j1939.source_address.range",
            ("DriverChangeRecord", "KeyType") if !byte => "driver_change.key_type.range",
            ("BluetoothRecord", "DataType") if !byte => "bluetooth.data_type.range",
            _ => "",
        };
        if !broken.is_empty() {
            return Err((broken, name.to_owned()));
        }
        let noted: &[(bool, &'static str)] = match (kind, name) {
            ("GpsRecord", "Latitude") => &[(value.abs() > 90.0, "gps.latitude.range")],
            ("GpsRecord", "Longitude") => &[(value.abs() > 180.0, "gps.longitude.range")],
            ("GpsRecord", "Speed") => &[
                (value < 0.0, "gps.speed.negative"),
                (value > 300.0, "gps.speed.high"),
            ],
            ("StatusRecord" | "GenericStatusRecord", "Code") => {
                &[(!(0.0..=65535.0).contains(&value), "status.code.unusual")]
            }
            ("J1939FaultRecord", "SuspectParameterNumber") => &[(
                !(0.0..=524_287.0).contains(&value),
                "j1939.suspect_parameter_number.range",
            )],
            ("J1939FaultRecord", "FailureModeIdentifier") => {
                &[(value > 31.0, "j1939.failure_mode.high")]
            }
            ("DriverChangeRecord", "KeyType") => &[(value != 84.0, "driver_change.key_type.usual")],
            ("BluetoothRecord", "DataType") => &[(
                !(5.0..=23.0).contains(&value),
                "bluetooth.data_type.unusual",
            )],
            _ => &[],
        };
        self.notes
            .extend(noted.iter().filter(|(hit, _)| *hit).map(|(_, rule)| rule));
        Ok(())
    }

    fn vin(&mut self, given: &str) -> Result<String, Broken> {
        let vin = given.trim().to_ascii_uppercase();
        if vin.is_empty() || vin.chars().count() > 17 {
            return Err(("vin.length.range", "VehicleIdentificationNumber".to_owned()));
        }
        if vin != given {
            self.repaired("vin.normalised");
        }
        let full = vin.chars().count() == 17;
        if !full {
            self.notes.insert("vin.length.usual");
        }
        if !regex!("^[A-HJ-NPR-Z0-9]*$").is_match(&vin) {
            self.notes.insert("vin.alphabet");
        } else if full {
            let value = |c| "0123456789.ABCDEFGH..JKLMN.P.R..STUVWXYZ".find(c).unwrap() as u32 % 10;
            let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
            let sum: u32 = vin
                .chars()
                .zip(weights)
                .map(|(c, weight)| value(c) * weight)
                .sum();
            if vin.chars().nth(8) != "0123456789X".chars().nth(sum as usize % 11) {
                self.notes.insert("vin.check_digit");
            }
        }
        Ok(vin)
    }
}

fn base64(kind: &str, name: &str, text: &str) -> Result<(), Broken> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let (form, size, most) = match kind {
        "BinaryRecord" => ("binary.data.base64", "binary.data.size", 32745),
        _ => (
            "driver_change.driver_id.base64",
            "driver_change.driver_id.size",
            239,
        ),
    };
    let bytes = engine.decode(text).map_err(|_| (form, name.to_owned()))?;
    if (1..=most).contains(&bytes.len()) {
        Ok(())
    } else {
        Err((size, name.to_owned()))
    }
}
