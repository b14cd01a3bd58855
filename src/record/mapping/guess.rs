//! A mapping proposed for an unknown message: members that look like a device id, a time, a position, a speed and known diagnostics, as a
//! commented file to start from.
//!
//! Pure; for people, so it may allocate. A proposal compiles, but only a person knows whether it is right: what was guessed by a name
//! alone says so, and members that nothing was made of are listed.

use std::fmt::Write as _;

use serde_json::Value;

/// A member of the message: its path, and its value.
struct Leaf<'v> {
    path: String,
    /// The last key in lower case without separators.
    name: String,
    value: &'v Value,
}

/// What the members of a message, or of an element of its array, look like.
struct Guess<'v> {
    leaves: Vec<Leaf<'v>>,
    used: Vec<bool>,
}

/// Names of members by what they are likely to mean, likeliest first.
const LATITUDE: &[&str] = &["latitude", "lat", "gpslat", "gpslatitude", "y"];
const LONGITUDE: &[&str] = &[
    "longitude",
    "lon",
    "lng",
    "long",
    "gpslon",
    "gpslongitude",
    "x",
];
const DEVICE: &[&str] = &[
    "imei",
    "deviceid",
    "deviceimei",
    "uniqueid",
    "unitid",
    "trackerid",
    "vehicleid",
    "assetid",
    "ident",
    "esn",
    "serialnumber",
    "serialno",
    "serial",
    "device",
    "unit",
    "id",
];
const TIME: &[&str] = &[
    "devicetime",
    "gpstime",
    "fixtime",
    "eventtime",
    "timestamp",
    "datetime",
    "recordedat",
    "happenedattime",
    "messagetime",
    "utc",
    "time",
    "ts",
    "tst",
    "t",
    "at",
    "date",
];
const SPEED: &[&str] = &["speed", "gpsspeed", "velocity", "vel", "spd", "kmh", "s"];
const IGNITION: &[&str] = &[
    "ignition",
    "ignitionon",
    "isignitionon",
    "ign",
    "acc",
    "engineon",
];
const VALID: &[&str] = &["valid", "gpsvalid", "isgpsvalid", "fixvalid", "hasfix"];
const VIN: &[&str] = &["vin", "vehicleidentificationnumber"];
const ODOMETER: &[&str] = &["odometer", "totaldistance", "mileage"];
const FUEL: &[&str] = &[
    "fuellevel",
    "fuelpercent",
    "fuelpercents",
    "fuellevelpercent",
];
const RPM: &[&str] = &["rpm", "enginerpm", "enginespeed"];

/// Proposes a mapping for a message, or for the first of an array of messages.
///
/// # Errors
/// The text is no JSON object.
pub fn guess(text: &[u8]) -> Result<String, String> {
    let whole: Value =
        serde_json::from_slice(text).map_err(|error| format!("the message is no JSON: {error}"))?;
    let message = match &whole {
        Value::Array(messages) => messages.first().unwrap_or(&Value::Null),
        message => message,
    };
    if !message.is_object() {
        return Err(
            "the message is no JSON object; give one message, or an array of them".to_owned(),
        );
    }
    let mut outer = Guess::of(message);
    let each = if outer.position().is_some() {
        None
    } else {
        elements(message, String::new())
    };
    let mut out = String::from(
        "# Proposed from one message by `dig-ingest map --guess`. Check every line: names are hints, units are not in the message.\n\
         # The format is described in config/mappings/README.md; try it with `dig-ingest map --explain --mapping FILE MESSAGES`.\n\
         description = \"TODO: whose messages these are\"\n\
         # What becomes of a message that no record applies to: \"reject\" (a dead letter) or \"skip\" (counted).\n\
         unmatched = \"reject\"\n\n",
    );
    match each {
        None => {
            outer.device(&mut out, None);
            outer.time(&mut out, None);
            outer.records(&mut out);
            outer.unused(&mut out);
        }
        Some((path, element)) => {
            let _ = writeln!(
                out,
                "# One record per element of this array; paths start at the element, `$.` at the message."
            );
            let _ = writeln!(out, "each = {}\n", quoted(&path));
            let mut inner = Guess::of(element);
            if outer.find(DEVICE, is_name).is_some() {
                outer.device(&mut out, None);
            } else {
                inner.device(&mut out, Some("element"));
            }
            if inner
                .find(TIME, |value| time_format(value).is_some())
                .is_some()
            {
                inner.time(&mut out, None);
            } else {
                outer.time(&mut out, Some("$."));
            }
            inner.records(&mut out);
            inner.unused(&mut out);
        }
    }
    Ok(out)
}

/// The first array of objects that look like positions, and its first element.
fn elements(value: &Value, path: String) -> Option<(String, &Value)> {
    let Value::Object(members) = value else {
        return None;
    };
    for (key, value) in members {
        let path = join(&path, key);
        match value {
            Value::Array(list) => {
                let first = list.first().filter(|first| first.is_object());
                if let Some(first) = first.filter(|first| Guess::of(first).position().is_some()) {
                    return Some((path, first));
                }
            }
            Value::Object(_) => {
                if let Some(found) = elements(value, path) {
                    return Some(found);
                }
            }
            _ => {}
        }
    }
    None
}

fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && !key.contains(['.', '[', '"', '@', '$', '^']);
    let key = if plain {
        key.to_owned()
    } else {
        format!("\"{key}\"")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// A path as TOML text.
fn quoted(path: &str) -> String {
    if path.contains('"') {
        format!("'{path}'")
    } else {
        format!("\"{path}\"")
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => super::value::numeric(text)?.number(),
        _ => None,
    }
}

fn is_name(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty() && text.len() <= 64,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

/// The format of a value that looks like a time of today's fleets, and its zone where it has none.
fn time_format(value: &Value) -> Option<(&'static str, bool)> {
    if let Some(number) = number(value) {
        return match number {
            1e9..1e10 => Some(("epoch_s", false)),
            1e12..1e13 => Some(("epoch_ms", false)),
            1e15..1e16 => Some(("epoch_us", false)),
            _ => None,
        };
    }
    let text = value.as_str()?;
    let form = |zone| super::time::Form::compile(None, zone, super::time::Doubled::Earlier).ok();
    let reads =
        |zone| form(zone).is_some_and(|form| form.ticks(super::value::Scalar::Text(text)).is_ok());
    if reads(None) {
        Some(("rfc3339", false))
    } else {
        reads(Some("UTC")).then_some(("rfc3339", true))
    }
}

fn is_flag(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 1)),
        Value::String(text) => ["on", "off", "true", "false", "yes", "no", "0", "1"]
            .contains(&text.to_lowercase().as_str()),
        _ => false,
    }
}

impl<'v> Guess<'v> {
    fn of(value: &'v Value) -> Self {
        let mut leaves = Vec::new();
        collect(value, "", "", &mut leaves);
        Self {
            used: vec![false; leaves.len()],
            leaves,
        }
    }

    /// The member of the likeliest name whose value fits.
    fn find(&self, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<usize> {
        names.iter().find_map(|name| {
            self.leaves
                .iter()
                .position(|leaf| leaf.name == *name && fits(leaf.value))
        })
    }

    /// As [`find`](Self::find), or a member whose name holds one of the names.
    fn find_like(&self, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<usize> {
        self.find(names, &fits).or_else(|| {
            let long = |name: &&&str| name.len() > 2;
            names.iter().filter(long).find_map(|name| {
                self.leaves
                    .iter()
                    .position(|leaf| leaf.name.contains(*name) && fits(leaf.value))
            })
        })
    }

    fn position(&self) -> Option<(String, String, Vec<usize>)> {
        let degrees = |most: f64| {
            move |value: &Value| number(value).is_some_and(|degrees| degrees.abs() <= most)
        };
        let pair = self
            .find_like(LATITUDE, degrees(90.0))
            .zip(self.find_like(LONGITUDE, degrees(180.0)))
            .filter(|(latitude, longitude)| latitude != longitude);
        if let Some((latitude, longitude)) = pair {
            let path = |at: usize| self.leaves[at].path.clone();
            return Some((path(latitude), path(longitude), vec![latitude, longitude]));
        }
        // GeoJSON: longitude, latitude.
        let at = self.leaves.iter().position(|leaf| {
            leaf.name == "coordinates"
                && leaf
                    .value
                    .as_array()
                    .is_some_and(|pair| pair.len() >= 2 && pair[0].is_number())
        })?;
        let path = &self.leaves[at].path;
        Some((format!("{path}[1]"), format!("{path}[0]"), vec![at]))
    }

    fn take(&mut self, at: usize) -> (String, String) {
        self.used[at] = true;
        let leaf = &self.leaves[at];
        (leaf.path.clone(), leaf.value.to_string())
    }

    fn device(&mut self, out: &mut String, from: Option<&str>) {
        out.push_str("# Whose message it is: your own id, which the device registry resolves, or `serial = ...` for a Geotab serial.\n[device]\n");
        if let Some(from) = from {
            let _ = writeln!(out, "from = \"{from}\"");
        }
        match self.find(DEVICE, is_name) {
            Some(at) => {
                let (path, value) = self.take(at);
                let _ = writeln!(out, "id = {}    # here {value}", quoted(&path));
            }
            None => out.push_str("id = \"@kafka.key\"    # TODO: no member looks like an id; is it the message's key?\n"),
        }
        out.push('\n');
    }

    fn time(&mut self, out: &mut String, outside: Option<&str>) {
        out.push_str("# The time of every record that has no time of its own.\n[time]\n");
        match self.find_like(TIME, |value| time_format(value).is_some()) {
            Some(at) => {
                let (path, value) = self.take(at);
                let path = format!("{}{path}", outside.unwrap_or_default());
                let _ = writeln!(out, "path = {}    # here {value}", quoted(&path));
                if let Some((format, local)) = time_format(self.leaves[at].value) {
                    let _ = writeln!(out, "format = \"{format}\"");
                    if local {
                        out.push_str("zone = \"UTC\"    # TODO: the time has no offset; which zone does the vendor mean?\n");
                    }
                }
            }
            None => out.push_str(
                "path = \"@kafka.timestamp\"    # TODO: no member looks like a time; this one is when the message was written\nformat = \"epoch_ms\"\n",
            ),
        }
        out.push('\n');
    }

    fn records(&mut self, out: &mut String) {
        let ignition = self.find_like(IGNITION, is_flag);
        let mut any = false;
        if let Some((latitude, longitude, found)) = self.position() {
            any = true;
            for at in found {
                self.used[at] = true;
            }
            let (latitude, longitude) = (quoted(&latitude), quoted(&longitude));
            let _ = writeln!(
                out,
                "[[record]]\ntype = \"GpsRecord\"\nwhen = {{ present = [{latitude}, {longitude}] }}\n[record.fields]\nLatitude = {latitude}\nLongitude = {longitude}"
            );
            if let Some(at) = self.find_like(SPEED, |value| {
                number(value).is_some_and(|speed| speed >= 0.0)
            }) {
                let (path, value) = self.take(at);
                let (factor, unit) = speed_unit(&self.leaves[at].name);
                let path = quoted(&path);
                let _ = match factor {
                    Some(factor) => writeln!(
                        out,
                        "Speed = {{ path = {path}, factor = {factor} }}    # {unit} to km/h; here {value}"
                    ),
                    None => writeln!(
                        out,
                        "Speed = {path}    # TODO: {unit}? For knots add factor = 1.852, for m/s 3.6, for mph 1.609344; here {value}"
                    ),
                };
            }
            match self.find(VALID, is_flag) {
                Some(at) => {
                    let (path, value) = self.take(at);
                    let _ = writeln!(
                        out,
                        "IsGpsValid = {{ path = {}, as = \"boolean\" }}    # here {value}",
                        quoted(&path)
                    );
                }
                None => out.push_str(
                    "IsGpsValid = true    # TODO: does a member say whether there is a fix?\n",
                ),
            }
            if let Some(at) = ignition {
                let (path, value) = self.take(at);
                let _ = writeln!(
                    out,
                    "IsIgnitionOn = {{ path = {}, as = \"boolean\" }}    # here {value}",
                    quoted(&path)
                );
            }
            out.push('\n');
        }
        if let Some(at) = ignition {
            any = true;
            let path = quoted(&self.take(at).0);
            let _ = writeln!(
                out,
                "[[record]]\ndiagnostic = \"Ignition\"\nvalue = {{ path = {path}, as = \"boolean\" }}\n"
            );
        }
        let is_number = |value: &Value| number(value).is_some();
        for (names, diagnostic, unit) in [
            (ODOMETER, "Odometer", "metres"),
            (FUEL, "Fuel level", "percent"),
            (RPM, "Engine speed", "revolutions per minute"),
        ] {
            let Some(at) = self.find_like(names, is_number) else {
                continue;
            };
            any = true;
            let (path, value) = self.take(at);
            let path = quoted(&path);
            let kilometres = diagnostic == "Odometer" && self.leaves[at].name.ends_with("km");
            let source = if kilometres {
                format!("{{ path = {path}, factor = 1000 }}")
            } else {
                path
            };
            let _ = writeln!(
                out,
                "# The diagnostic is in {unit}: add a factor where the message has another unit. Here {value}\n[[record]]\ndiagnostic = \"{diagnostic}\"\nvalue = {source}\n"
            );
        }
        if let Some(at) = self.find(VIN, |value| {
            value.as_str().is_some_and(|vin| !vin.is_empty())
        }) {
            any = true;
            let (path, _) = self.take(at);
            let path = quoted(&path);
            let _ = writeln!(
                out,
                "[[record]]\ntype = \"VinRecord\"\nwhen = {{ present = {path} }}\n[record.fields]\nVehicleIdentificationNumber = {path}\n"
            );
        }
        if !any {
            out.push_str("# TODO: no member looks like a position or a known diagnostic; name the member and the diagnostic yourself.\n[[record]]\ndiagnostic = \"Ignition\"\nvalue = \"TODO\"\n\n");
        }
    }

    /// Members that nothing was made of.
    fn unused(&self, out: &mut String) {
        let mut left = self
            .leaves
            .iter()
            .zip(&self.used)
            .filter(|(_, used)| !**used)
            .peekable();
        if left.peek().is_none() {
            return;
        }
        out.push_str("# Nothing was made of:\n");
        for (leaf, _) in left.take(60) {
            let value: String = leaf.value.to_string().chars().take(60).collect();
            let _ = writeln!(out, "#   {} = {value}", leaf.path);
        }
    }
}

fn speed_unit(name: &str) -> (Option<f64>, &'static str) {
    if name.contains("knot") || name.ends_with("kn") {
        (Some(1.852), "knots")
    } else if name.contains("mph") || name.contains("milesperhour") {
        (Some(1.609_344), "miles per hour")
    } else if name.contains("meterspersecond") || name.ends_with("mps") {
        (Some(3.6), "metres per second")
    } else {
        (None, "km/h")
    }
}

fn collect<'v>(value: &'v Value, path: &str, key: &str, leaves: &mut Vec<Leaf<'v>>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                collect(value, &join(path, key), key, leaves);
            }
        }
        Value::Null => {}
        _ => {
            // Of dotted keys the last part names what it is.
            let last = key.rsplit('.').next().unwrap_or(key);
            let name = last
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>();
            leaves.push(Leaf {
                path: path.to_owned(),
                name: name.to_ascii_lowercase(),
                value,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::diagnostics::Diagnostics;
    use crate::record::mapping::Mapping;

    fn proposal(message: &str) -> String {
        let text = guess(message.as_bytes()).unwrap();
        Mapping::compile("guess.toml", &text, &Diagnostics::shipped().unwrap())
            .unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        text
    }

    #[test]
    fn members_are_known_by_name_and_value() {
        let text = proposal(
            r#"{"unit":{"imei":"356307042441013"},"at":1706463936,"gps":{"lat":52.1,"lon":4.3,"speedKnots":33.2,"valid":true},
                "ignition":"on","odometer_km":12345.6,"fuelLevel":71,"engine.rpm":900,"vin":"1M8GDM9AXKP042788","sat":14}"#,
        );
        for wanted in [
            "id = \"unit.imei\"",
            "path = \"at\"",
            "format = \"epoch_s\"",
            "Latitude = \"gps.lat\"",
            "Speed = { path = \"gps.speedKnots\", factor = 1.852 }",
            "IsGpsValid = { path = \"gps.valid\", as = \"boolean\" }",
            "diagnostic = \"Ignition\"",
            "value = { path = \"odometer_km\", factor = 1000 }",
            "value = '\"engine.rpm\"'",
            "VehicleIdentificationNumber = \"vin\"",
            "#   sat = 14",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }

    #[test]
    fn arrays_of_positions_and_bare_messages_are_proposed_too() {
        let each = proposal(
            r#"[{"data":{"points":[{"id":7,"ts":"2024-01-28 17:45:36","geometry":{"coordinates":[4.3,52.1]}}]}}]"#,
        );
        for wanted in [
            "each = \"data.points\"",
            "from = \"element\"",
            "zone = \"UTC\"",
            "Latitude = \"geometry.coordinates[1]\"",
        ] {
            assert!(each.contains(wanted), "{wanted} is not in\n{each}");
        }
        let bare = proposal(r#"{"a":{"b":null},"c":[]}"#);
        assert!(
            bare.contains("@kafka.key") && bare.contains("@kafka.timestamp"),
            "{bare}"
        );
        assert!(guess(b"7").is_err() && guess(b"{").is_err() && guess(b"[]").is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_proposal_compiles(keys in proptest::collection::vec("[a-z.\"@$^\\[]{0,6}", 1..6), number in proptest::num::f64::ANY) {
            let members: serde_json::Map<String, Value> = keys.iter().map(|key| (key.clone(), Value::from(number))).collect();
            let text = guess(Value::Object(members).to_string().as_bytes()).unwrap();
            let compiled = Mapping::compile("guess.toml", &text, &Diagnostics::shipped().unwrap());
            // A key that holds a quote cannot be written as a path.
            let quote = keys.iter().any(|key| key.contains('"'));
            proptest::prop_assert!(quote || compiled.is_ok(), "{:#}\n{}", compiled.unwrap_err(), text);
        }
    }
}
