//! A page of `GET /invalidrecords`, read leniently (dig/API.md section 10): member names in any case, with and without an envelope.
//!
//! Nothing is built of the answer but the page's numbers and each record's own text: an answer of millions of empty arrays, or with
//! members nobody asked for, costs its bytes. How many bytes are read is the client's part; here the number of records is bounded by
//! [`RECORDS`]. Pure.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::redact;

/// Records of one page at most, as the gateway documents it.
pub const RECORDS: usize = 50_000;
/// Longest cause of a record kept.
const CAUSE_CHARS: usize = 2_000;

/// One page of `GET /invalidrecords`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Where the next page begins; `None` at the end.
    pub next_key: Option<i64>,
    /// How many invalid records the gateway holds for this user.
    pub total: Option<i64>,
    pub records: Vec<Invalid>,
}

/// A record the gateway found invalid after it had accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The record as the gateway returns it, as JSON.
    pub record: Box<str>,
    /// Free text.
    pub cause: Option<String>,
    /// When it was marked, as given.
    pub marked: Option<String>,
}

impl Invalid {
    /// Text members of the record by name, in any case.
    #[must_use]
    pub fn texts<const N: usize>(&self, names: [&'static str; N]) -> [Option<String>; N] {
        members(&self.record, names)
            .unwrap_or([None; N])
            .map(|member| text(member?))
    }

    /// The record's serial, if it has one.
    #[must_use]
    pub fn serial(&self) -> Option<String> {
        let [serial] = self.texts(["SerialNo"]);
        serial
    }
}

/// Reads a page.
///
/// # Errors
/// Why the body is not one.
pub fn read(body: &[u8]) -> Result<Page, String> {
    let body = std::str::from_utf8(body).map_err(|_| "not UTF-8".to_owned())?;
    let json = |error: serde_json::Error| format!("not JSON: {error}");
    let [wrapped, bare] = members(body, ["Data", "InvalidRecords"]).map_err(json)?;
    let answer = match wrapped.map(RawValue::get) {
        Some(answer) if answer.starts_with('{') => answer,
        // No page at all: nothing to report.
        Some("null" | "\"\"") => return Ok(Page::default()),
        _ if bare.is_some() => body,
        _ => return Err("no `Data`".to_owned()),
    };
    let [next, total, list] = members(
        answer,
        [
            "NextResultKey",
            "TotalNumberOfInvalidRecords",
            "InvalidRecords",
        ],
    )
    .map_err(json)?;
    let records = match list.map(RawValue::get) {
        None | Some("null") => Vec::new(),
        Some(list) if list.starts_with('[') => records(list)?,
        Some(_) => return Err("`InvalidRecords` is not an array".to_owned()),
    };
    Ok(Page {
        next_key: next.and_then(whole),
        total: total.and_then(whole),
        records,
    })
}

fn records(list: &str) -> Result<Vec<Invalid>, String> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<Invalid>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {RECORDS} invalid records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut records = Vec::new();
            while let Some(item) = list.next_element::<&RawValue>()? {
                if records.len() >= RECORDS {
                    return Err(serde::de::Error::invalid_length(RECORDS + 1, &self));
                }
                records.push(invalid(item.get()));
            }
            Ok(records)
        }
    }
    serde_json::Deserializer::from_str(list)
        .deserialize_seq(List)
        .map_err(|error| error.to_string())
}

fn invalid(item: &str) -> Invalid {
    let names = ["BaseRecord", "Cause", "TimeStamp"];
    let [record, cause, marked] = members(item, names).unwrap_or([None; 3]);
    Invalid {
        record: record.map_or(item, RawValue::get).into(),
        cause: cause
            .and_then(text)
            .map(|cause| redact::foreign(&cause, CAUSE_CHARS)),
        marked: marked.and_then(text),
    }
}

/// Members of an object by name, in any case; the exact name wins. None of a value that is no object. Everything else of the value is
/// read and not kept.
fn members<'j, const N: usize>(
    json: &'j str,
    names: [&'static str; N],
) -> Result<[Option<&'j RawValue>; N], serde_json::Error> {
    struct Names<const N: usize>([&'static str; N]);
    impl<'de, const N: usize> Visitor<'de> for Names<N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            let mut exact = [false; N];
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                let at = self
                    .0
                    .iter()
                    .position(|name| name.eq_ignore_ascii_case(&key));
                let Some(at) = at.filter(|&at| !exact[at]) else {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                };
                let is_exact = *key == *self.0[at];
                let value = map.next_value()?;
                if found[at].is_none() || is_exact {
                    (found[at], exact[at]) = (Some(value), is_exact);
                }
            }
            Ok(found)
        }
    }
    if !json.trim_start().starts_with('{') {
        // Still read whole, so that what is no JSON is told.
        serde_json::from_str::<IgnoredAny>(json)?;
        return Ok([None; N]);
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Names(names))?;
    reader.end()?;
    Ok(found)
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A whole number, also one given as text.
fn whole(value: &RawValue) -> Option<i64> {
    serde_json::from_str(value.get())
        .ok()
        .or_else(|| text(value)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_with_64_bit_keys_and_gaps() {
        let body = json!({"Error": [], "Data": {"NextResultKey": 9_007_199_254_740_993_i64, "CurrentResultKey": 5,
            "TotalNumberOfInvalidRecords": "16545", "InvalidRecords": [
            {"BaseRecord": {"SerialNo": "A", "Type": "StatusRecord"}, "Cause": "no", "TimeStamp": "2021-02-10T02:00:00Z"},
            {"baserecord": {"serialno": "B\u{1f600}"}, "cause": null}, 7]}});
        let page = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(page.next_key, Some(9_007_199_254_740_993));
        assert_eq!(page.total, Some(16_545));
        let serials: Vec<Option<String>> = page.records.iter().map(Invalid::serial).collect();
        assert_eq!(
            serials,
            [Some("A".to_owned()), Some("B\u{1f600}".to_owned()), None]
        );
        assert_eq!(page.records[0].cause.as_deref(), Some("no"));
        assert_eq!(page.records[1].cause, None);
        assert_eq!(&*page.records[2].record, "7");
        let last = read(br#"{"Data":{"NextResultKey":null,"InvalidRecords":null}}"#).unwrap();
        assert_eq!(last, Page::default());
        let bare = read(br#" {"invalidrecords":[{"SerialNo":"A"}],"nextresultkey":3}"#).unwrap();
        assert_eq!((bare.next_key, bare.records.len()), (Some(3), 1));
    }

    #[test]
    fn what_is_no_page_says_so() {
        for body in [
            &b"<html>"[..],
            br#"{"Error":["x"]}"#,
            b"[1,2]",
            b"{\"Data\":{\"InvalidRecords\":{}}}",
            b"{\"Data\":{\"InvalidRecords\":[1,]}}",
            b"{\"Data\":{}} rest",
            b"\xff",
        ] {
            assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        for body in [&br#"{"Data":null}"#[..], br#"{"Data":""}"#] {
            assert_eq!(read(body), Ok(Page::default()));
        }
        let many = format!(
            "{{\"Data\":{{\"InvalidRecords\":[{}0]}}}}",
            "0,".repeat(RECORDS)
        );
        let why = read(many.as_bytes()).unwrap_err();
        assert!(why.contains("50000"), "{why}");
    }

    #[test]
    fn the_exact_name_wins_and_the_first_of_the_others() {
        let item = r#"{"cause":"a","CAUSE":"b","Cause":"c","cAuse":"d"}"#;
        let [cause] = members(item, ["Cause"]).unwrap();
        assert_eq!(cause.and_then(text).as_deref(), Some("c"));
        let [cause] = members(r#"{"cause":"a","CAUSE":"b"}"#, ["Cause"]).unwrap();
        assert_eq!(cause.and_then(text).as_deref(), Some("a"));
    }
}
