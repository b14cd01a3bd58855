//! What made a record, or why it was not made, in words: for `dig-ingest map --explain`.
//!
//! Only reached when somebody asked for it, so it may allocate.

use super::Fault;
use super::file::Literal;
use super::path_context::Here;
use super::plan::{Record, Source, ValuePath};
use super::shorten;
use crate::record::datetime;

impl Here<'_, '_> {
    /// A record that was made of this, or why it is rejected.
    #[cold]
    pub fn told(&self, record: &Record, made: &Result<(i64, bool), Fault>) -> String {
        let head = self.head(record);
        let ticks = match made {
            Err(fault) => return format!("{head}: rejected: {fault}"),
            Ok((_, false)) => {
                let name = record
                    .status
                    .as_ref()
                    .map(|status| self.given(&status.source));
                let name = name.unwrap_or_default();
                return format!("{head}: not made: nothing is left of {name}");
            }
            Ok((ticks, true)) => *ticks,
        };
        let time = datetime::render(ticks);
        let time = std::str::from_utf8(time.bytes()).unwrap_or_default();
        let mut parts = vec![format!(
            "DateTime {time} from {}",
            self.given(&record.time.source)
        )];
        for (member, source) in &record.members {
            let value = match self.value(source) {
                Ok(Some(value)) => value.text().into_owned(),
                Ok(None) => "left out".to_owned(),
                Err(fault) => fault.to_string(),
            };
            parts.push(format!(
                "{} {} from {}",
                member.name(),
                shorten(&value),
                self.given(source)
            ));
        }
        if let Some(status) = &record.status {
            let value = self.number(&status.source).ok().flatten();
            let value = value.map_or_else(String::new, |value| value.to_string());
            let raw = if status.raw { "raw " } else { "" };
            let unit = &status.diagnostic.unit;
            let of = self.given(&status.source);
            parts.push(format!("{raw}value {value} {unit} from {of}").replace("  ", " "));
        }
        format!("{head}: made: {}", parts.join("; "))
    }

    /// Why a record is not made of this.
    #[cold]
    pub fn why_not(&self, record: &Record, case: Option<u32>) -> String {
        format!(
            "{}: not made: {}",
            self.head(record),
            self.reason(record, case)
        )
    }

    fn reason(&self, record: &Record, case: Option<u32>) -> String {
        if let (Some(cases), Some(case)) = (&record.cases, case)
            && !cases.contains(&case)
        {
            return "the message's type is none of its `case`".to_owned();
        }
        let value = |place: ValuePath| match self.pick(&[place]) {
            Ok(Some((_, scalar))) => format!("{} is {}", self.name(place), shorten(&scalar.text())),
            Ok(None) => format!("{} is absent", self.name(place)),
            Err(fault) => format!("{} is {}", fault.field, fault.value),
        };
        let list = |wanted: &[Literal]| {
            let texts: Vec<_> = wanted.iter().map(|wanted| wanted.scalar().text()).collect();
            texts.join(" or ")
        };
        if let Some(place) = record.present.iter().find(|&&place| !self.is_there(place)) {
            return format!("{} is absent", self.name(*place));
        }
        if let Some(place) = record.absent.iter().find(|&&place| self.is_there(place)) {
            return format!("{} is there", self.name(*place));
        }
        for (place, wanted) in &record.equals {
            if !self.equals(*place, wanted) {
                return format!("{}, not {}", value(*place), list(wanted));
            }
        }
        for (place, unwanted) in &record.differs {
            if self.equals(*place, unwanted) {
                return value(*place);
            }
        }
        for (place, wanted) in &record.contains {
            if !self.contains(*place, wanted) {
                return format!("{} holds no {}", self.name(*place), list(wanted));
            }
        }
        let status = record
            .status
            .as_ref()
            .map(|status| self.names(&status.source.places));
        format!("{} is absent", status.unwrap_or_default())
    }

    /// Which record, and of which element.
    fn head(&self, record: &Record) -> String {
        let name = record
            .status
            .as_ref()
            .map(|status| status.diagnostic.name.as_str());
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        let level = self.element.map(|element| element.list.levels.len() - 1);
        let of = level.map_or_else(String::new, |level| {
            format!(" of {}", self.element_name(level))
        });
        format!("record[{}] {}{name}{of}", record.number, record.kind.name())
    }

    /// What a source found: its path and value, or its constant.
    fn given(&self, source: &Source) -> String {
        let told = |place: ValuePath| match self.pick(&[place]) {
            Ok(Some((_, scalar))) => Some(format!(
                "{} = {}",
                self.name(place),
                shorten(&scalar.text())
            )),
            _ => None,
        };
        let mut found = source.places.iter().filter_map(|&place| told(place));
        if source.join.is_some() {
            let found: Vec<String> = found.collect();
            return found.join(" and ");
        }
        found.next().unwrap_or_else(
            || match source.constant.as_ref().or(source.default.as_ref()) {
                Some(literal) if source.places.is_empty() => {
                    format!("the constant {}", literal.scalar().text())
                }
                Some(literal) => format!(
                    "the default {} ({} is absent)",
                    literal.scalar().text(),
                    self.names(&source.places)
                ),
                None => format!("{}, which is absent", self.names(&source.places)),
            },
        )
    }
}
