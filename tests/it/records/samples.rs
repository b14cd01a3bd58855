//! Messages to test with: one good record of every type, and ways to spoil them.

use proptest::prelude::*;

pub const RECORDS: [&str; 14] = [
    r#"{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00.123456Z","SerialNo":"CX0B21338D8D","Latitude":43.4516,"Longitude":-79.6877,"Speed":62.0,"IsGpsValid":true,"IsIgnitionOn":true,"IsAuxiliary1On":false,"IsAuxiliary8On":true}"#,
    r#"{"Type":"AccelerationRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","X":-32768,"Y":0,"Z":32767}"#,
    r#"{"Type":"BinaryRecord","DateTime":"2025-11-20T10:00:00.1234567Z","SerialNo":"CX0B21338D8D","Data":"aGVsbG8="}"#,
    r#"{"Type":"BluetoothRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","Address":"FF:FF:FF:00:AA:9B","Data":21.5,"DataType":7}"#,
    r#"{"Type":"DriverChangeRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","KeyType":84,"DriverId":"aGVsbG8="}"#,
    r#"{"Type":"GenericFaultRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","Code":466,"FaultStateActive":true}"#,
    r#"{"Type":"GenericStatusRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","Code":107,"Value":6400}"#,
    r#"{"Type":"StatusRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","Code":5,"Value":-1}"#,
    r#"{"Type":"J1708FaultRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","MessageId":128,"ParameterId":91,"FailureModeIdentifier":3,"OccurrenceCount":1,"FaultStateActive":true}"#,
    r#"{"Type":"J1939FaultRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","SuspectParameterNumber":100,"FailureModeIdentifier":1,"OccurrenceCount":2,"SourceAddress":0,"MalfunctionLamp":false,"RedStopLamp":true,"AmberWarningLamp":false,"ProtectWarningLamp":false,"FaultStateActive":true}"#,
    r#"{"Type":"ObdiiFaultRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","Code":"P0301","FaultStateActive":false}"#,
    r#"{"Type":"VinRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","VehicleIdentificationNumber":"1M8GDM9AXKP042788"}"#,
    r#"{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00Z","DeviceId":"352093081452251","Latitude":0.0,"Longitude":-0,"IsGpsValid":true,"IsIgnitionOn":false}"#,
    r#"{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00Z","DeviceId":"nobody","Latitude":47,"Longitude":8,"IsGpsValid":true,"IsIgnitionOn":false}"#,
];

/// Values, as JSON text, that members get in place of their own.
#[rustfmt::skip]
pub const VALUES: &[&str] = &[
    "null", "true", "false", "{}", "[]", r#"{"a":[{"b":"}]"}]}"#, "[1,[2],{\"x\":null}]", r#""""#, r#"" ""#, r#""\u0000""#, r#""a\"b\\c\/d""#, r#""\ud83d\ude00""#,
    r#""\ud800""#, r#""\udc00x""#, r#""\ud800\u0041""#, r#""\x""#, r#""\u12g4""#, "\"\u{7f}é😀\"", "\"\u{2028}\"", "\"tab\there\"",
    "0", "-0", "0.0", "-0.0", "1", "-1", "5.0", "5e0", "1E2", "1e-7", "1e400", "-1e400", "1e-400", "3.5e38", "3.4028235677973366e38", "3.4028235677973362e38", "1e38", "01", "-01", "1.", ".5", "+1", "-", "1e", "1e+", "0x10", "NaN", "Infinity", "-Infinity", "nul", "nulll", "tru", "truefalse", "1a", "1 2",
    "90", "90.0000001", "-90", "-90.1", "180", "180.5", "300", "300.1", "-0.5", "31", "32", "84", "85", "127", "128", "293", "1999", "2000", "255", "256", "511", "512", "15", "16", "32767", "32768", "-32769", "65535", "65536", "524287", "524288",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "123456789012345678901234567890", "0.1234567890123456789012345678901234567890", "123456789012345678.5", "43.451600000000000",
    r#""2025-11-20T10:00:00""#, r#""2025-11-20T10:00:00+02:00""#, r#""2025-11-20t10:00:00.5z""#, r#""2025-02-29T10:00:00Z""#, r#""2024-02-29T10:00:00-00:00""#, r#""2025-11-20T10:00:00.12345678Z""#, r#""2025-11-20T10:00:00.1234567+14:00""#, r#""2099-01-01T00:00:00Z""#, r#""1999-12-31T23:59:60Z""#, r#""1999-12-31T23:59:59Z""#, r#""0001-01-01T00:00:00+01:00""#, r#""9999-12-31T23:30:00-01:00""#, r#""2025-11-21T04:45:00Z""#, r#""2025-11-21T04:45:00.000001Z""#, r#""2025-11-20 10:00:00Z""#, r#""2025-11-20T10:00:00+0200""#, r#""2025-11-20T10:00:00Z\u0000""#, r#""2025\u002d11-20T10:00:00Z""#,
    r#""CX0B21338D8D""#, r#""cx0b-2133-8d8d""#, "\" \u{200B}CX0B21338D8D \"", r#""C1-800-000-0001""#, r#""1234567890123""#, r#""--""#, r#""A\u0022B""#, r#""12345678901234567890123456789012345678901234567890""#, r#""123456789012345678901234567890123456789012345678901""#, "\"É\"", r#""352093081452251""#, r#"" 352093081452251 ""#, r#""untidy""#, r#""nobody""#,
    r#""GpsRecord""#, r#""gpsrecord""#, r#""VinRecord""#, r#""Gps\u0052ecord""#, r#""GpsRecords""#,
    r#""P0301""#, r#""p0301""#, r#""P03011111111""#, r#""QQ==""#, r#""QR==""#, r#""QQ=""#, r#""====""#, r#""QUJD\n""#, r#""QU\/D""#, r#""ff-ff-ff-00-aa-9b""#, r#""FFFFFF00AA9B""#, r#""FF:FF-FF:00:AA:9B""#, r#""GG:FF:FF:00:AA:9B""#, r#"" 1m8gdm9axkp042788 ""#, r#""1M8GDM9A1KP042788""#, r#""1M8GDM9AXKP04278O""#, r#""1M8GDM9AXKP0427881""#, r#""11111111111111111""#,
];

/// Objects and messages that parsers disagree on; `VALUE` stands for any of [`VALUES`].
pub const TRAPS: &[&str] = &[
    "",
    " \n\t\r ",
    "\u{feff}{}",
    "\u{b}",
    "{}",
    "[]",
    "[ ]",
    "{},",
    "[{},]",
    "{\"a\":1,}",
    "[1 2]",
    "{\"Type\" \"GpsRecord\"}",
    "{\"Type\":\"GpsRecord\"",
    "{\"Type\":\"GpsRecord\"}}",
    "{\"Type\":\"GpsRecord\"}{}",
    "{\"Type\":\"GpsRecord\",\"Type\":\"GpsRecord\"}",
    "{\"Type\":\"GpsRecord\",\"type\":null}",
    "{\"Type\":null,\"Type\":\"GpsRecord\"}",
    "{\"\":1}",
    "{\"\":null}",
    "{'Type':1}",
    "{Type:1}",
    "// comment\n{}",
    "VALUE",
    "[VALUE]",
    "[VALUE,VALUE]",
    "{\"\\u0054ype\":VALUE}",
    "{\"Type\":VALUE,\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\"}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":VALUE,\"SerialNo\":\"CX0B21338D8D\",\"Latitude\":1,\"Longitude\":1}",
    "{\"Type\":\"DriverChangeRecord\",\"DateTime\":VALUE,\"SerialNo\":\"CX0B21338D8D\",\"KeyType\":84,\"DriverId\":\"QQ==\"}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":VALUE,\"\\u004catitude\":1,\"Longitude\":1}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"DeviceId\":VALUE,\"Latitude\":1,\"Longitude\":1}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"DeviceId\":VALUE,\"Latitude\":1,\"Longitude\":1}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"LATITUDE\":VALUE,\"Longitude\": VALUE }",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Latitude\":1,\"Longitude\":1,\"Speed\":VALUE,\"IsGpsValid\":VALUE}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Latitude\":1,\"Longitude\":1,\"Other\":VALUE}",
    "{\"Type\":\"GpsRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Latitude\":1,\"Longitude\":1,\"Code\":VALUE}",
    "{\"Type\":\"StatusRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Code\":VALUE,\"Value\":VALUE}",
    "{\"Type\":\"GenericStatusRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Code\":VALUE,\"Value\":VALUE}",
    "{\"Type\":\"BluetoothRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"Address\":VALUE,\"Data\":VALUE,\"DataType\":1}",
    "{\"Type\":\"VinRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"VehicleIdentificationNumber\":VALUE}",
    "[{\"Type\":\"VinRecord\",\"DateTime\":\"2025-11-20T10:00:00Z\",\"SerialNo\":\"CX0B21338D8D\",\"VehicleIdentificationNumber\":\"x\\ty\"},VALUE,{\"Type\":VALUE},{\"a\":VALUE,\"b\":2}]",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(VALUES).prop_map(str::to_owned),
        1 => any::<f64>().prop_map(|value| format!("{value:?}")),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        1 => (-1000.0..1000.0f64).prop_map(|value| value.to_string()),
        1 => (-3000i64..3000).prop_map(|value| value.to_string()),
        1 => ".{0,12}".prop_map(|text| serde_json::to_string(&text).expect("JSON")),
        1 => "[A-Za-z0-9+/]{0,350}={0,2}".prop_map(|text| format!("{text:?}")),
        1 => "20[12][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,8})?(Z|[+-][0-2][0-9]:[0-5][0-9])"
            .prop_map(|text| format!("{text:?}")),
    ]
}

/// One way to spoil a record, by the member it touches.
#[derive(Debug, Clone)]
enum Spoil {
    Set(usize, String),
    Remove(usize),
    Repeat(usize, String),
    Case(usize),
    Escape(usize),
    Space(usize),
    Swap(usize),
    Add(String, String),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let names = &[
        "Code",
        "Value",
        "Foo",
        "SerialNo",
        "DeviceId",
        "Speed",
        "IsIgnitionOn",
        "Data",
        "X",
        "SubsystemId",
        "vAlUe",
        "",
    ];
    prop_oneof![
        4 => (0..20usize, value()).prop_map(|(at, value)| Spoil::Set(at, value)),
        1 => (0..20usize).prop_map(Spoil::Remove),
        1 => (0..20usize, value()).prop_map(|(at, value)| Spoil::Repeat(at, value)),
        1 => (0..20usize).prop_map(Spoil::Case),
        1 => (0..20usize).prop_map(Spoil::Escape),
        1 => (0..20usize).prop_map(Spoil::Space),
        1 => (0..20usize).prop_map(Spoil::Swap),
        1 => (prop::sample::select(&names[..]), value()).prop_map(|(name, value)| Spoil::Add(name.to_owned(), value)),
    ]
}

fn record() -> impl Strategy<Value = String> {
    (
        prop::sample::select(&RECORDS[..]),
        prop::collection::vec(spoil(), 0..4),
    )
        .prop_map(|(sample, spoils)| {
            // Keys and values with their quotes, as text.
            let inner = &sample[1..sample.len() - 1];
            let mut members: Vec<(String, String)> = inner
                .split(",\"")
                .map(|member| {
                    let (key, value) = member.split_once("\":").expect("a member");
                    (
                        format!("\"{}\"", key.trim_start_matches('"')),
                        value.to_owned(),
                    )
                })
                .collect();
            for spoil in spoils {
                let len = members.len();
                if len == 0 {
                    break;
                }
                match spoil {
                    Spoil::Set(at, value) => members[at % len].1 = value,
                    Spoil::Remove(at) => drop(members.remove(at % len)),
                    Spoil::Repeat(at, value) => members.push((members[at % len].0.clone(), value)),
                    Spoil::Case(at) => members[at % len].0 = members[at % len].0.to_uppercase(),
                    Spoil::Escape(at) => {
                        if let Some(first) = members[at % len]
                            .0
                            .chars()
                            .nth(1)
                            .filter(char::is_ascii_alphabetic)
                        {
                            let rest = members[at % len].0[2..].to_owned();
                            members[at % len].0 = format!("\"\\u{:04x}{rest}", u32::from(first));
                        }
                    }
                    Spoil::Space(at) => {
                        members[at % len].1 = format!(" {}\n\t", members[at % len].1)
                    }
                    Spoil::Swap(at) => members.swap(0, at % len),
                    Spoil::Add(name, value) => members.push((format!("{name:?}"), value)),
                }
            }
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
}

/// A message of one record, or an array of records and other values.
pub fn message() -> impl Strategy<Value = String> {
    let element = prop_oneof![5 => record(), 1 => value()];
    prop_oneof![
        2 => record(),
        1 => (prop::collection::vec(element, 0..5), prop::sample::select(vec![",", " , ", "\n,"]))
            .prop_map(|(elements, comma)| format!("[{}]", elements.join(comma))),
    ]
}

/// A message with a few of its bytes changed.
pub fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(&b"{}[]\",:\\ -+.eE0123456789tfnu\n\t"[..]),
        1 => any::<u8>(),
    ];
    (
        message(),
        prop::collection::vec((any::<prop::sample::Index>(), 0..3, byte), 1..4),
    )
        .prop_map(|(message, changes)| {
            let mut message = message.into_bytes();
            for (at, kind, byte) in changes {
                if message.is_empty() {
                    break;
                }
                let at = at.index(message.len());
                match kind {
                    0 => message[at] = byte,
                    1 => message.insert(at, byte),
                    _ => drop(message.remove(at)),
                }
            }
            message
        })
}
