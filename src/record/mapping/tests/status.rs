//! Status values by diagnostic.

use super::{decode, from_device, told};
use crate::record::{Outcome, Stage};

fn status(lines: &str) -> String {
    format!(
        "device.id = \"id\"\ntime = {{ path = \"t\", format = \"epoch_s\" }}\n[[record]]\n{lines}\n"
    )
}

#[test]
fn status_values() {
    let value = |code: i32, value: i64| {
        format!("GenericStatus 5:36.000000Z \"Code\":{code},\"Value\":{value}")
    };
    for (lines, member, wanted) in [
        (
            "diagnostic = \"Odometer\"\nvalue = { path = \"km\", factor = 1000 }",
            "\"km\":12.34",
            value(5, 123),
        ),
        (
            "diagnostic = 107\nvalue = \"rpm\"",
            "\"rpm\":850",
            value(107, 3400),
        ),
        (
            "diagnostic = \"Ignition\"\nvalue = \"on\"",
            "\"on\":true",
            value(10000, 1),
        ),
        (
            "diagnostic = \"Ignition\"\nvalue = { path = \"on\", map = { RUN = 1, STOP = 0 } }",
            "\"on\":\"RUN\"",
            value(10000, 1),
        ),
        (
            "diagnostic = \"Remote probe 1 temperature\"\nvalue = \"c\"",
            "\"c\":-20.5",
            value(30050, 16_056),
        ),
        (
            "diagnostic = \"Remote probe 1 temperature\"\nraw = true\nvalue = \"c\"",
            "\"c\":16056",
            value(30050, 16_056),
        ),
        (
            "diagnostic = \"Fuel level\"\nvalue = \"f\"",
            "\"f\":\"50\"",
            value(98, 128),
        ),
        (
            "diagnostic = \"Ignition\"\nvalue = { path = \"on\", default = false }",
            "\"x\":1",
            value(10000, 0),
        ),
        (
            "diagnostic = \"Ignition\"\nvalue = true",
            "\"x\":1",
            value(10000, 1),
        ),
        (
            "type = \"StatusRecord\"\ndiagnostic = \"Battery voltage\"\nvalue = \"v\"",
            "\"v\":3.938",
            "Status 5:36.000000Z \"Code\":5,\"Value\":3938".to_owned(),
        ),
        (
            "diagnostic = \"MAC air temperature\"\nvalue = \"c\"",
            "\"c\":300",
            "map.status.length c = 300 (raw 340)".to_owned(),
        ),
        (
            "diagnostic = \"Odometer\"\nvalue = \"m\"",
            "\"m\":1e300",
            "map.status.length m = 1".to_owned(),
        ),
        (
            "diagnostic = \"Odometer\"\nvalue = \"m\"",
            "\"m\":\"far\"",
            "map.value.kind m = far".to_owned(),
        ),
        (
            "diagnostic = \"Odometer\"\nvalue = \"m\"",
            "\"m\":null",
            "map.unmatched  = no record applies".to_owned(),
        ),
        (
            "type = \"GenericStatusRecord\"\nfields = { Code = \"c\", Value = \"v\" }",
            "\"c\":5,\"v\":9",
            value(5, 9),
        ),
    ] {
        let told = told(&status(lines), &from_device(member));
        assert!(
            told.len() == 1 && told[0].starts_with(&wanted),
            "{lines} of {member}: {told:?}, not {wanted}"
        );
    }
}

#[test]
fn a_length_reject_names_the_diagnostic_and_its_bounds() {
    let out = decode(
        &status("diagnostic = \"MAC air temperature\"\nvalue = \"c\""),
        &from_device("\"c\":300"),
    );
    let Outcome::Reject(reject) = &out.outcomes[0] else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(
        reject.bound,
        "1-byte raw value -128..255 of 34132 \"MAC air temperature\""
    );
    assert_eq!(
        (reject.stage, reject.subject.as_deref()),
        (Stage::Map, Some("CX0B21338D8D"))
    );
}
