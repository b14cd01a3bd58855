//! Tests of records.

use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::Rules;
use dig_ingest::record::{Decoded, Outcome};
use std::sync::Arc;

const NOW: i64 = 1_764_000_000_000_000;

#[test]
fn smoke() {
    let mut decoder = Decoder::new(Shape::Native, Arc::new(Rules::default()));
    let mut out = Decoded::default();
    for text in [
        r#"{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00.123456Z","SerialNo":"CX0B21338D8D","Latitude":43.4516,"Longitude":-79.6877,"Speed":62.0,"IsGpsValid":true,"IsIgnitionOn":true}"#,
        r#"[{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00.123456Z","SerialNo":"cX0B21338D8D","Latitude":43.4516 ,"longitude":-79.6877,"Speed":null,"IsGpsValid":true,"IsIgnitionOn":true} , 5 ,[1,[2]],{}, {"Type":"VinRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","VehicleIdentificationNumber":"\u0031M8GDM9AXKP042788"}]"#,
        "[]",
        "[ ]",
        "{}",
        "",
        "5",
        "[",
        "nul",
        "{\"a\":1}",
        "{\"a\":[1,{\"b\":2}], \"Type\":7}",
    ] {
        out.clear();
        decoder.decode(Some(text.as_bytes()), &(), NOW, &mut out);
        println!("{text}");
        for outcome in &out.outcomes {
            match outcome {
                Outcome::Valid(r) => println!(
                    "  valid {} {}",
                    String::from_utf8_lossy(r.bytes(&out.bytes)),
                    String::from_utf8_lossy(r.serial(&out.bytes))
                ),
                Outcome::Reject(r) => {
                    println!("  {r}  {:?} {:?}", r.subject, &text[r.original.clone()])
                }
                Outcome::Unknown(u) => println!("  unknown {u:?}"),
            }
        }
        println!("  {:?}", out.notes);
    }
}
