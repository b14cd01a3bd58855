//! Every rule, row by row, with the values just inside and just outside its bounds.

use std::collections::BTreeSet;

use dig_ingest::record::rules::{Check, RULES};
use dig_ingest::record::validate::Config;
use dig_ingest::record::{Decoded, Outcome, Stage};

use super::decode_with;
use super::samples::RECORDS;

/// The sample of a type with one member's value replaced, added, or (with "") removed.
pub fn with(kind: &str, member: &str, value: &str) -> String {
    let sample = RECORDS
        .iter()
        .find(|sample| sample.contains(&format!("\"{kind}\"")))
        .expect("a sample");
    let mut found = false;
    let mut members: Vec<String> = sample[1..sample.len() - 1]
        .split(",\"")
        .filter_map(|pair| {
            let pair = pair.trim_start_matches('"');
            let (name, old) = pair.split_once("\":").expect("a member");
            if name != member {
                return Some(format!("\"{name}\":{old}"));
            }
            found = true;
            (!value.is_empty()).then(|| format!("\"{name}\":{value}"))
        })
        .collect();
    if !found && !value.is_empty() {
        members.push(format!("\"{member}\":{value}"));
    }
    format!("{{{}}}", members.join(","))
}

/// The one rule that a message broke or set off, with `!` before a rejecting one; "" when all is well.
pub fn told(out: &Decoded) -> String {
    let mut told: Vec<String> = out
        .notes
        .iter()
        .map(|(rule, _)| (*rule).to_owned())
        .collect();
    for outcome in &out.outcomes {
        match outcome {
            Outcome::Reject(reject) => told.push(format!("!{}", reject.rule)),
            Outcome::Unknown(_) => told.push("unknown".to_owned()),
            Outcome::Excess(excess) => told.push(format!("!!{}", excess.records)),
            Outcome::Valid(_) => {}
        }
    }
    told.join(" ")
}

#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str)] = &[
    // All types.
    ("Vin", "Type", "", "!record.member.missing"),
    ("Vin", "Type", "7", "!record.member.json"),
    ("Vin", "Type", r#""VinRecordX""#, "!record.type.name"),
    ("Vin", "Type", r#""vinrecord""#, "record.type.case"),
    ("Vin", "DateTime", "", "!record.member.missing"),
    ("Vin", "DateTime", "1763700000", "!record.member.json"),
    ("Vin", "DateTime", r#""20.11.2025 10:00""#, "!record.datetime.form"),
    ("Vin", "DateTime", r#""2025-11-20T10:00:00.12345678Z""#, "!record.datetime.form"),
    ("Vin", "DateTime", r#""2025-11-20T10:00:00""#, "!record.datetime.zone"),
    ("Vin", "DateTime", r#""2025-11-20T10:00:00.1234567Z""#, ""),
    ("Vin", "DateTime", r#""2025-11-20T10:00:00+02:00""#, "record.datetime.utc"),
    ("Vin", "DateTime", r#""2024-11-21T04:40:00Z""#, ""),
    ("Vin", "DateTime", r#""2024-11-21T04:39:59Z""#, "record.datetime.past"),
    ("Vin", "DateTime", r#""2025-11-21T04:45:00Z""#, ""),
    ("Vin", "DateTime", r#""2025-11-21T04:45:01Z""#, "record.datetime.future"),
    ("Vin", "SerialNo", "", "!record.member.missing"),
    ("Vin", "SerialNo", "12", "!record.member.json"),
    ("Vin", "SerialNo", r#"" - ""#, "!record.serial.length"),
    ("Vin", "SerialNo", r#""A\u0007B""#, "!record.serial.text"),
    ("Vin", "SerialNo", r#""c1-800-000-0001""#, "record.serial.normalised"),
    ("Vin", "SerialNo", "\"\u{200B}CX0B21338D8D\"", "record.serial.normalised"),
    ("Vin", "SerialNo", r#""1234567890123""#, "record.serial.shape"),
    ("Vin", "SerialNo", r#""12345678901234567890123456789012345678901234567890""#, "record.serial.shape"),
    ("Vin", "SerialNo", r#""123456789012345678901234567890123456789012345678901""#, "!record.serial.length"),
    ("Vin", "DeviceId", r#""352093081452251""#, "record.device_id.dropped"),
    ("Vin", "Extra", "1", "!record.member.unknown"),
    ("Vin", "Extra", "null", "record.member.null"),
    ("Vin", "Latitude", "1", "!record.member.unknown"),
    ("Vin", "Latitude", "null", "record.member.null"),
    ("Vin", "VEHICLEIDENTIFICATIONNUMBER", "null", "!record.member.duplicate"),
    ("Gps", "isauxiliary2on", "true", "record.member.case"),
    // GpsRecord.
    ("Gps", "Latitude", "", "!record.member.missing"),
    ("Gps", "Latitude", r#""43""#, "!record.member.json"),
    ("Gps", "Latitude", "true", "!record.member.json"),
    ("Gps", "Latitude", "90", ""),
    ("Gps", "Latitude", "90.01", "gps.latitude.range"),
    ("Gps", "Latitude", "-90.01", "gps.latitude.range"),
    ("Gps", "Latitude", "1e39", "!record.member.float32"),
    ("Gps", "Longitude", "", "!record.member.missing"),
    ("Gps", "Longitude", "[]", "!record.member.json"),
    ("Gps", "Longitude", "-180.0", ""),
    ("Gps", "Longitude", "180.01", "gps.longitude.range"),
    ("Gps", "Speed", "", ""),
    ("Gps", "Speed", "0", ""),
    ("Gps", "Speed", "-0.1", "gps.speed.negative"),
    ("Gps", "Speed", "300", ""),
    ("Gps", "Speed", "300.5", "gps.speed.high"),
    ("Gps", "Speed", "-1e39", "!record.member.float32"),
    ("Gps", "IsGpsValid", "", "gps.is_gps_valid.absent"),
    ("Gps", "IsGpsValid", "1", "!record.member.json"),
    ("Gps", "IsIgnitionOn", "", "gps.is_ignition_on.absent"),
    ("Gps", "IsIgnitionOn", r#""on""#, "!record.member.json"),
    ("Gps", "IsAuxiliary1On", "false", ""),
    ("Gps", "IsAuxiliary8On", "0", "!record.member.json"),
    // AccelerationRecord.
    ("Acceleration", "X", "", "!record.member.missing"),
    ("Acceleration", "X", "-32769", "!acceleration.axis.range"),
    ("Acceleration", "Y", "32768", "!acceleration.axis.range"),
    ("Acceleration", "Z", "1.0", "!record.member.json"),
    ("Acceleration", "Z", "-0", ""),
    // StatusRecord.
    ("Status", "Code", "127", ""),
    ("Status", "Code", "128", "!status.code.dropped"),
    ("Status", "Code", "1999", "!status.code.dropped"),
    ("Status", "Code", "2000", ""),
    ("Status", "Code", "65535", ""),
    ("Status", "Code", "65536", "status.code.unusual"),
    ("Status", "Code", "-1", "status.code.unusual"),
    ("Status", "Code", "2147483648", "!status.code.int32"),
    ("Status", "Code", "5.5", "!record.member.json"),
    ("Status", "Value", "", "!record.member.missing"),
    ("Status", "Value", "5.0", "!record.member.json"),
    ("Status", "Value", "true", "!record.member.json"),
    ("Status", "Value", r#""5""#, "!record.member.json"),
    ("Status", "Value", "2147483647", ""),
    ("Status", "Value", "2147483648", "!status.value.int32"),
    ("Status", "Value", "-2147483649", "!status.value.int32"),
    // GenericStatusRecord.
    ("GenericStatus", "Code", "", "!record.member.missing"),
    ("GenericStatus", "Code", "127", "generic_status.code.unknown"),
    ("GenericStatus", "Code", "128", "!generic_status.code.dropped"),
    ("GenericStatus", "Code", "1999", "!generic_status.code.dropped"),
    ("GenericStatus", "Code", "2000", "generic_status.code.unknown"),
    ("GenericStatus", "Code", "31070", "generic_status.value.length"),
    ("GenericStatus", "Code", "10000", ""),
    ("GenericStatus", "Value", "-2147483648", ""),
    ("GenericStatus", "Value", "-2147483649", "!generic_status.value.int32"),
    ("GenericStatus", "Value", "1e3", "!record.member.json"),
    // GenericFaultRecord.
    ("GenericFault", "Code", "127", "!generic_fault.code.range"),
    ("GenericFault", "Code", "128", ""),
    ("GenericFault", "Code", "1999", ""),
    ("GenericFault", "Code", "2000", "!generic_fault.code.range"),
    ("GenericFault", "FaultStateActive", "", "generic_fault.fault_state_active.absent"),
    ("GenericFault", "FaultStateActive", "1", "!record.member.json"),
    // J1708FaultRecord.
    ("J1708Fault", "MessageId", "256", "!j1708.message_id.range"),
    ("J1708Fault", "MessageId", "", "!record.member.missing"),
    ("J1708Fault", "ParameterId", "511", ""),
    ("J1708Fault", "ParameterId", "512", "!j1708.parameter_id.range"),
    ("J1708Fault", "ParameterId", "", "j1708.parameter_or_subsystem.one"),
    ("J1708Fault", "ParameterId", "null", "record.member.null j1708.parameter_or_subsystem.one"),
    ("J1708Fault", "SubsystemId", "511", "j1708.parameter_or_subsystem.one"),
    ("J1708Fault", "SubsystemId", "-1", "!j1708.subsystem_id.range"),
    ("J1708Fault", "SubsystemId", "null", "record.member.null"),
    ("J1708Fault", "FailureModeIdentifier", "15", ""),
    ("J1708Fault", "FailureModeIdentifier", "16", "!j1708.failure_mode.range"),
    ("J1708Fault", "OccurrenceCount", "256", "!j1708.occurrence_count.range"),
    ("J1708Fault", "FaultStateActive", "", "!record.member.missing"),
    // J1939FaultRecord.
    ("J1939Fault", "SuspectParameterNumber", "524287", ""),
    ("J1939Fault", "SuspectParameterNumber", "524288", "j1939.suspect_parameter_number.range"),
    ("J1939Fault", "SuspectParameterNumber", r#""100""#, "!record.member.json"),
    ("J1939Fault", "FailureModeIdentifier", "31", ""),
    ("J1939Fault", "FailureModeIdentifier", "32", "j1939.failure_mode.high"),
    ("J1939Fault", "FailureModeIdentifier", "256", "!j1939.failure_mode.range"),
    ("J1939Fault", "OccurrenceCount", "-1", "!j1939.occurrence_count.range"),
    ("J1939Fault", "SourceAddress", "256", "!j1939.source_address.range"),
    ("J1939Fault", "RedStopLamp", "", ""),
    ("J1939Fault", "RedStopLamp", "1", "!record.member.json"),
    ("J1939Fault", "FaultStateActive", "", "!record.member.missing"),
    // ObdiiFaultRecord.
    ("ObdiiFault", "Code", r#""""#, "!obdii.code.length"),
    ("ObdiiFault", "Code", r#""P0301-00-11""#, "!obdii.code.length"),
    ("ObdiiFault", "Code", r#""P0301-00-1""#, "obdii.code.shape"),
    ("ObdiiFault", "Code", r#""p0301""#, "obdii.code.shape"),
    ("ObdiiFault", "Code", "301", "!record.member.json"),
    ("ObdiiFault", "FaultStateActive", "", "!record.member.missing"),
    // DriverChangeRecord.
    ("DriverChange", "KeyType", "256", "!driver_change.key_type.range"),
    ("DriverChange", "KeyType", "0", "driver_change.key_type.usual"),
    ("DriverChange", "DriverId", r#""a""#, "!driver_change.driver_id.base64"),
    ("DriverChange", "DriverId", r#""aGVs bG8=""#, "!driver_change.driver_id.base64"),
    ("DriverChange", "DriverId", r#""""#, "!driver_change.driver_id.size"),
    ("DriverChange", "DateTime", r#""2025-11-21T04:40:00Z""#, ""),
    ("DriverChange", "DateTime", r#""2025-11-21T04:40:00.000001Z""#, "driver_change.datetime.future"),
    // BinaryRecord.
    ("Binary", "Data", "", "!record.member.missing"),
    ("Binary", "Data", r#""aGVsbG8""#, "!binary.data.base64"),
    ("Binary", "Data", r#""aGVsbG8-""#, "!binary.data.base64"),
    ("Binary", "Data", r#""""#, "!binary.data.size"),
    // BluetoothRecord.
    ("Bluetooth", "Address", r#""ff-ff-ff-00-aa-9b""#, "bluetooth.address.normalised"),
    ("Bluetooth", "Address", r#""FF:FF:FF:00:AA""#, "!bluetooth.address.form"),
    ("Bluetooth", "Data", "3.5e38", "!record.member.float32"),
    ("Bluetooth", "Data", "-40", ""),
    ("Bluetooth", "DataType", "256", "!bluetooth.data_type.range"),
    ("Bluetooth", "DataType", "4", "bluetooth.data_type.unusual"),
    ("Bluetooth", "DataType", "24", "bluetooth.data_type.unusual"),
    // VinRecord.
    ("Vin", "VehicleIdentificationNumber", r#""  ""#, "!vin.length.range"),
    ("Vin", "VehicleIdentificationNumber", r#""1M8GDM9AXKP0427889""#, "!vin.length.range"),
    ("Vin", "VehicleIdentificationNumber", r#"" 1m8gdm9axkp042788 ""#, "vin.normalised"),
    ("Vin", "VehicleIdentificationNumber", r#""1M8GDM9AXKP04278""#, "vin.length.usual"),
    ("Vin", "VehicleIdentificationNumber", r#""1M8GDM9AXKP04278O""#, "vin.alphabet"),
    ("Vin", "VehicleIdentificationNumber", r#""1M8GDM9A1KP042788""#, "vin.check_digit"),
];

#[test]
fn every_rule_by_row() {
    for sample in RECORDS.iter().filter(|sample| !sample.contains("DeviceId")) {
        let out = decode_with(&Config::default(), Some(sample.as_bytes()));
        assert_eq!(told(&out), "", "{sample}");
        let Outcome::Valid(record) = &out.outcomes[0] else {
            panic!("{sample}")
        };
        assert_eq!(
            record.bytes(&out.bytes),
            sample.as_bytes(),
            "a good record is sent as it was written"
        );
    }
    for &(kind, member, value, expected) in ROWS {
        let message = with(&format!("{kind}Record"), member, value);
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        assert_eq!(told(&out), expected, "{message}");
        if let Some(Outcome::Reject(reject)) = out.outcomes.first() {
            assert_eq!(reject.stage, Stage::Validate);
            assert!(reject.field.eq_ignore_ascii_case(member), "{reject}");
            assert_eq!(reject.original, 0..message.len());
        }
    }
}

#[test]
fn no_rule_is_without_a_row() {
    let elsewhere = [
        "message.",
        "record.object",
        "record.member.dropped",
        "record.device_id.form",
    ];
    let told: BTreeSet<&str> = ROWS
        .iter()
        .flat_map(|row| row.3.split(' '))
        .map(|rule| rule.trim_start_matches('!'))
        .collect();
    for rule in &RULES {
        let here = told.contains(rule.id);
        let there = rule.check == Check::Elsewhere
            || elsewhere.iter().any(|prefix| rule.id.starts_with(prefix))
            || rule.id == "gps.position.zero";
        assert!(here || there, "{} has no row", rule.id);
    }
}
