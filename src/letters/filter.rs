//! Which letters are meant: reason, stage, serial, device, time, source and place. Pure.

use std::collections::HashSet;

use super::entry::{Entry, Kind};
use super::place::Part;

/// A reason code: exact, or all that begin with a text (`gps.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasons(String);

impl Reasons {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn has(&self, reason: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(begin) => reason.starts_with(begin),
            None => reason == self.0,
        }
    }
}

/// What a letter must be; an empty list takes all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kinds: Vec<Kind>,
    pub reasons: Vec<Reasons>,
    pub stages: Vec<String>,
    /// Serials, and the device ids that have them, in upper case where that is their normal form.
    pub names: Option<HashSet<String>>,
    /// Milliseconds since the epoch, by the time of the letter.
    pub since_ms: Option<i64>,
    /// As `since_ms`; letters of this time and later are not meant.
    pub until_ms: Option<i64>,
    pub sources: Vec<Part>,
    /// Places of the letters themselves.
    pub places: Vec<Part>,
}

impl Filter {
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let time = |bound: Option<i64>, holds: fn(i64, i64) -> bool| {
            bound.is_none_or(|bound| entry.time_ms.is_some_and(|at| holds(at, bound)))
        };
        let named = |names: &HashSet<String>| {
            [&entry.serial, &entry.name]
                .into_iter()
                .flatten()
                .any(|name| names.contains(name))
        };
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && any(&self.reasons, |reasons| reasons.has(&entry.reason))
            && any(&self.stages, |stage| *stage == entry.stage)
            && self.names.as_ref().is_none_or(named)
            && time(self.since_ms, |at, since| at >= since)
            && time(self.until_ms, |at, until| at < until)
            && any(&self.sources, |part| {
                entry.source.as_ref().is_some_and(|source| part.has(source))
            })
            && any(&self.places, |part| part.has(&entry.place))
    }
}

fn any<T>(wanted: &[T], has: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::entry::Raw;
    use crate::letters::place::LetterPlace;

    fn entry() -> Entry {
        let raw = Raw {
            kind: Kind::DeadLetter,
            place: LetterPlace::new("dead", 0, 7),
            time_ms: Some(1_000),
            key: Some(b"356938035643809"),
            value: b"{}",
        };
        let headers = [
            ("reason", &b"gps.latitude.range"[..]),
            ("stage", b"validate"),
            ("serial", b"CX1"),
            ("source-topic", b"telemetry"),
            ("source-partition", b"3"),
            ("source-offset", b"41"),
        ];
        Entry::read(raw, headers.into_iter())
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let takes = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.takes(&entry())
        };
        let named = |name: &str| Some(HashSet::from([name.to_owned()]));
        assert!(takes(&|_| {}));
        for (reason, expected) in [
            ("gps.*", true),
            ("gps.latitude.range", true),
            ("gps", false),
        ] {
            assert_eq!(takes(&|f| f.reasons = vec![Reasons::new(reason)]), expected);
        }
        assert!(!takes(&|f| f.kinds = vec![Kind::Held]));
        assert!(!takes(&|f| f.stages = vec!["gate".to_owned()]));
        assert!(takes(&|f| f.names = named("CX1")));
        assert!(takes(&|f| f.names = named("356938035643809")));
        assert!(!takes(&|f| f.names = named("CX2")));
        assert!(takes(&|f| f.since_ms = Some(1_000)) && !takes(&|f| f.since_ms = Some(1_001)));
        assert!(!takes(&|f| f.until_ms = Some(1_000)) && takes(&|f| f.until_ms = Some(1_001)));
        let part = |text: &str| vec![text.parse::<Part>().expect("a part")];
        assert!(takes(&|f| f.sources = part("telemetry/3/40..42")));
        assert!(!takes(&|f| f.sources = part("telemetry/3/40")));
        assert!(takes(&|f| f.places = part("dead/0/7")) && !takes(&|f| f.places = part("dead/1")));
    }
}
