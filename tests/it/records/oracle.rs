//! A second opinion on native records: slow, simple, on `serde_json`, and written apart from the decoder. Default settings only.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use record::Case;

/// What the oracle says about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Valid { bytes: String, serial: String },
    Unknown { device_id: String },
    Reject { rule: String, field: String },
}

/// The verdicts of a message, and the rules it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opinion {
    pub verdicts: Vec<Verdict>,
    pub notes: BTreeMap<String, u64>,
}

/// A JSON value with its source.
#[derive(Debug, Clone)]
pub enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<(Tree, String)>),
    Object(Vec<(String, Tree, String)>),
}

struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Parses strictly; numbers may have any size.
fn tree(source: &str) -> Option<Tree> {
    let raw: &RawValue = serde_json::from_str(source).ok()?;
    let text = raw.get();
    Some(match text.as_bytes().first()? {
        b'n' => Tree::Null,
        b't' => Tree::Bool(true),
        b'f' => Tree::Bool(false),
        b'"' => Tree::Text(serde_json::from_str(text).ok()?),
        b'[' => {
            let list: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
            Tree::List(
                list.iter()
                    .map(|raw| Some((tree(raw.get())?, raw.get().to_owned())))
                    .collect::<Option<_>>()?,
            )
        }
        b'{' => {
            let Pairs(pairs) = serde_json::from_str(text).ok()?;
            let members = pairs
                .into_iter()
                .map(|(key, raw)| Some((key, tree(raw.get())?, raw.get().to_owned())));
            Tree::Object(members.collect::<Option<_>>()?)
        }
        _ if text.contains(['.', 'e', 'E']) => Tree::Float(text.parse().ok()?),
        _ => {
            let value = text.parse::<i128>().ok();
            let fits = |value: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value);
            // Beyond 64 bits it is as good as no number at all.
            value
                .filter(fits)
                .map_or(Tree::Float(f64::INFINITY), Tree::Int)
        }
    })
}

fn deepest(payload: &str) -> i64 {
    let mut deepest = 0;
    let mut depth: i64 = 0;
    let mut chars = payload.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (true, '\\') => {
                chars.next();
            }
            (_, '"') => quoted = !quoted,
            (false, '{' | '[') => depth += 1,
            (false, '}' | ']') => depth = (depth - 1).max(0),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The opinion on a message.
pub fn judge(payload: &[u8], serial_of: &dyn Fn(&str) -> Option<String>, now: i64) -> Opinion {
    let mut opinion = Opinion::default();
    let whole = |rule: &str| Opinion {
        verdicts: vec![Verdict::Reject {
            rule: rule.to_owned(),
            field: String::new(),
        }],
        notes: BTreeMap::new(),
    };
    if payload.len() > 1024 * 1024 {
        return whole("message.size");
    }
    let Ok(text) = std::str::from_utf8(payload) else {
        return whole("message.utf8");
    };
    if text.chars().all(|c| c.is_ascii_whitespace()) {
        return whole("message.empty");
    }
    if deepest(text) > 32 {
        return whole("message.depth");
    }
    let records = match tree(text) {
        None => return whole("message.json"),
        Some(Tree::List(list)) => list
            .into_iter()
            .enumerate()
            .map(|(at, (tree, source))| (format!("[{at}]"), tree, source))
            .collect(),
        Some(object @ Tree::Object(_)) => {
            vec![(String::new(), object, text.trim_ascii().to_owned())]
        }
        Some(_) => return whole("message.scalar"),
    };
    let mut accepted: Vec<(String, String)> = Vec::new();
    for (prefix, tree, source) in records {
        let mut case = Case {
            notes: BTreeSet::new(),
            rewrite: false,
            tick: String::new(),
            key: String::new(),
            serial_of,
            now,
        };
        let verdict = match tree {
            Tree::Object(members) => case.record(&members, &source),
            _ => Err(("record.object", String::new())),
        };
        opinion.verdicts.push(match verdict {
            Ok(verdict) => {
                for rule in case.notes {
                    *opinion.notes.entry(rule.to_owned()).or_default() += 1;
                }
                if let Verdict::Valid { bytes, serial } = &verdict {
                    let key = format!("{serial} {}", case.key);
                    match accepted.iter().find(|(known, _)| *known == key) {
                        Some((_, first)) if first != bytes => {
                            *opinion.notes.entry("record.twin".to_owned()).or_default() += 1;
                        }
                        Some(_) => {}
                        None => accepted.push((key, bytes.clone())),
                    }
                }
                verdict
            }
            Err((rule, field)) => {
                let dot = if prefix.is_empty() || field.is_empty() {
                    ""
                } else {
                    "."
                };
                Verdict::Reject {
                    rule: rule.to_owned(),
                    field: format!("{prefix}{dot}{field}"),
                }
            }
        });
    }
    opinion
}
