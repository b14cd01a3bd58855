//! The calls that write shipments and assignments, as the settings describe them: no source shows them (U1). Pure.
//!
//! A profile says the verb, the path and how the members are spelled; what a call carries is typed and rendered by it. The
//! shipped profile is the assumed one.

use anyhow::Context as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc::percent;
use super::wire::{LineUnit, Order, ShipmentReport, UnitReport};

/// How a call is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    Get,
    #[default]
    Put,
    Post,
    Patch,
}

impl Verb {
    pub(super) fn method(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Put => reqwest::Method::PUT,
            Self::Post => reqwest::Method::POST,
            Self::Patch => reqwest::Method::PATCH,
        }
    }
}

/// How a unit's assignment is written (`[myadmin.unit_report]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitProfile {
    /// HTTP method: `PUT`, `POST` or `PATCH`.
    pub verb: Verb,
    /// URL template, beginning with `{base}`: `{base}` is `myadmin.rest_url`, `{order}` and `{unit}` are ids.
    pub path: String,
    /// Whether the body is the whole line item as it was read, with the new members set (true), or the new members alone (false).
    pub whole: bool,
    /// Name of the body member for the serial.
    pub serial: String,
    /// Name of the body member for the SIM number.
    pub sim: String,
    /// Name of the body member for the IMEI.
    pub imei: String,
}

impl Default for UnitProfile {
    fn default() -> Self {
        Self {
            verb: Verb::Put,
            path: "{base}/{order}/items/{unit}".to_owned(),
            whole: true,
            serial: "serialNumber".to_owned(),
            sim: "simNumber".to_owned(),
            imei: "imei".to_owned(),
        }
    }
}

/// How an order's shipment is written (`[myadmin.shipment_report]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShipmentProfile {
    /// HTTP method: `PUT`, `POST` or `PATCH`.
    pub verb: Verb,
    /// URL template, beginning with `{base}`: `{base}` is `myadmin.rest_url`, `{order}` is the id.
    pub path: String,
    /// Whether the body is the whole order as it was read, with the new members set (true), or the new members alone (false).
    pub whole: bool,
    /// Name of the body member for the carrier.
    pub carrier: String,
    /// Name of the body member for the tracking number.
    pub tracking: String,
    /// Name of the body member for the status.
    pub status: String,
}

impl Default for ShipmentProfile {
    fn default() -> Self {
        Self {
            verb: Verb::Put,
            path: "{base}/{order}".to_owned(),
            whole: false,
            carrier: "carrier".to_owned(),
            tracking: "trackingNumber".to_owned(),
            status: "shipmentStatus".to_owned(),
        }
    }
}

/// Values for the placeholders of a path.
type Places<'a> = &'a [(&'a str, String)];

/// The address that a path stands for; values are percent-encoded.
fn address(base: &Url, path: &str, places: Places<'_>) -> anyhow::Result<Url> {
    let rest = path
        .strip_prefix("{base}")
        .context("does not begin with {base}, and the session would be sent to somebody else")?;
    let mut out = base.as_str().trim_end_matches('/').to_owned();
    let mut left = rest;
    anyhow::ensure!(
        left.is_empty() || left.starts_with(['/', '?']),
        "needs a / after {{base}}"
    );
    while let Some(at) = left.find('{') {
        let end = left[at..].find('}').context("has a { without its }")? + at;
        let name = &left[at + 1..end];
        let value = places.iter().find(|(known, _)| *known == name);
        let names: Vec<_> = places.iter().map(|(known, _)| *known).collect();
        let (_, value) = value.with_context(|| {
            format!("has the unknown {{{name}}}; known are {}", names.join(", "))
        })?;
        out.push_str(&left[..at]);
        out.push_str(&percent(value));
        left = &left[end + 1..];
    }
    out.push_str(left);
    out.parse().context("is no path")
}

/// The members of a body, over what was read when the whole of it is to be sent.
fn body<T: Serialize>(
    whole: bool,
    read: &T,
    members: &[(&str, Option<&str>)],
) -> anyhow::Result<Value> {
    let mut body = match serde_json::to_value(read) {
        Ok(Value::Object(read)) if whole => read,
        _ => Map::new(),
    };
    for (name, value) in members {
        if let Some(value) = value {
            body.retain(|known, _| !known.eq_ignore_ascii_case(name));
            body.insert((*name).to_owned(), (*value).into());
        }
    }
    anyhow::ensure!(!body.is_empty(), "there is nothing to report");
    Ok(Value::Object(body))
}

fn named(members: &[(&str, &str)]) -> anyhow::Result<()> {
    for (key, name) in members {
        anyhow::ensure!(!name.trim().is_empty(), "{key} is empty: name a member");
    }
    Ok(())
}

impl UnitProfile {
    /// # Errors
    /// What of the profile cannot be used.
    pub(super) fn check(&self, base: &Url) -> anyhow::Result<()> {
        anyhow::ensure!(self.verb != Verb::Get, "verb = \"GET\" writes nothing");
        named(&[
            ("serial", &self.serial),
            ("sim", &self.sim),
            ("imei", &self.imei),
        ])?;
        self.address(base, 1, 1).map(|_| ())
    }

    fn address(&self, base: &Url, order: i64, unit: i64) -> anyhow::Result<Url> {
        let places = [("order", order.to_string()), ("unit", unit.to_string())];
        address(base, &self.path, &places).with_context(|| format!("path = {:?}", self.path))
    }

    /// # Errors
    /// The profile cannot be rendered, or there is nothing to report.
    pub(super) fn render(
        &self,
        base: &Url,
        order: i64,
        unit: &LineUnit,
        report: &UnitReport,
    ) -> anyhow::Result<(Verb, Url, Value)> {
        let members = [
            (self.serial.as_str(), report.serial.as_deref()),
            (self.sim.as_str(), report.sim.as_deref()),
            (self.imei.as_str(), report.imei.as_deref()),
        ];
        anyhow::ensure!(
            *report != UnitReport::default(),
            "there is nothing to report"
        );
        let body = body(self.whole, unit, &members)?;
        Ok((self.verb, self.address(base, order, unit.id)?, body))
    }
}

impl ShipmentProfile {
    /// # Errors
    /// What of the profile cannot be used.
    pub(super) fn check(&self, base: &Url) -> anyhow::Result<()> {
        anyhow::ensure!(self.verb != Verb::Get, "verb = \"GET\" writes nothing");
        let members = [
            ("carrier", self.carrier.as_str()),
            ("tracking", &self.tracking),
            ("status", &self.status),
        ];
        named(&members)?;
        self.address(base, 1).map(|_| ())
    }

    fn address(&self, base: &Url, order: i64) -> anyhow::Result<Url> {
        address(base, &self.path, &[("order", order.to_string())])
            .with_context(|| format!("path = {:?}", self.path))
    }

    /// # Errors
    /// The profile cannot be rendered, or there is nothing to report.
    pub(super) fn render(
        &self,
        base: &Url,
        order: &Order,
        report: &ShipmentReport,
    ) -> anyhow::Result<(Verb, Url, Value)> {
        let members = [
            (self.carrier.as_str(), report.carrier.as_deref()),
            (self.tracking.as_str(), report.tracking.as_deref()),
            (self.status.as_str(), report.status.as_deref()),
        ];
        anyhow::ensure!(
            *report != ShipmentReport::default(),
            "there is nothing to report"
        );
        let body = body(self.whole, order, &members)?;
        Ok((self.verb, self.address(base, order.id)?, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Url {
        "https://a.example/api/v3/shipping/partner".parse().unwrap()
    }

    fn unit() -> LineUnit {
        super::super::wire::line_unit(json!({"id": 7, "productCode": "CTD", "requiresImei": true,
            "serialNumber": "OLD", "colour": "red"}))
        .unwrap()
    }

    #[test]
    fn the_assumed_profile_puts_the_whole_item_with_the_new_members_over_it() {
        let report = UnitReport {
            serial: Some("CX1".to_owned()),
            sim: None,
            imei: Some("35".to_owned()),
        };
        let (verb, url, body) = UnitProfile::default()
            .render(&base(), 12, &unit(), &report)
            .unwrap();
        assert_eq!(verb, Verb::Put);
        assert_eq!(
            url.as_str(),
            "https://a.example/api/v3/shipping/partner/12/items/7"
        );
        assert_eq!(
            body,
            json!({"id": 7, "productCode": "CTD", "requiresImei": true, "serialNumber": "CX1", "imei": "35", "colour": "red"})
        );
    }

    #[test]
    fn another_profile_is_obeyed() {
        let profile: UnitProfile = toml::from_str(
            "verb = \"PATCH\"\npath = \"{base}/assign?order={order}&unit={unit}\"\nwhole = false\nserial = \"Serial\"",
        )
        .unwrap();
        let report = UnitReport {
            serial: Some("CX1".to_owned()),
            ..UnitReport::default()
        };
        let (verb, url, body) = profile.render(&base(), 12, &unit(), &report).unwrap();
        assert_eq!((verb, body), (Verb::Patch, json!({"Serial": "CX1"})));
        assert_eq!(url.query(), Some("order=12&unit=7"));
        let shipment = ShipmentReport {
            carrier: Some("Post".to_owned()),
            tracking: Some("T 1".to_owned()),
            status: None,
        };
        let order = Order {
            id: 12,
            ..Order::default()
        };
        let (_, url, body) = ShipmentProfile::default()
            .render(&base(), &order, &shipment)
            .unwrap();
        assert_eq!(body, json!({"carrier": "Post", "trackingNumber": "T 1"}));
        assert!(url.path().ends_with("/partner/12"));
    }

    #[test]
    fn a_profile_that_cannot_work_says_why() {
        let with = |path: &str| UnitProfile {
            path: path.to_owned(),
            ..UnitProfile::default()
        };
        for (path, why) in [
            (
                "https://elsewhere.example/{order}",
                "does not begin with {base}",
            ),
            ("{base}.elsewhere.example/{order}", "needs a / after {base}"),
            ("{base}/{serial}", "unknown {serial}; known are order, unit"),
            ("{base}/{order", "without its }"),
        ] {
            let error = format!("{:#}", with(path).check(&base()).unwrap_err());
            assert!(error.contains(why), "{path}: {error}");
        }
        let reads = ShipmentProfile {
            verb: Verb::Get,
            ..ShipmentProfile::default()
        };
        assert!(reads.check(&base()).is_err());
        let unnamed = ShipmentProfile {
            carrier: " ".to_owned(),
            ..ShipmentProfile::default()
        };
        assert!(
            unnamed
                .check(&base())
                .unwrap_err()
                .to_string()
                .contains("carrier is empty")
        );
        let nothing = UnitProfile::default().render(&base(), 1, &unit(), &UnitReport::default());
        assert!(
            nothing
                .unwrap_err()
                .to_string()
                .contains("nothing to report")
        );
        UnitProfile::default().check(&base()).unwrap();
        ShipmentProfile::default().check(&base()).unwrap();
    }
}
