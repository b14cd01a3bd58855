//! One `[[record]]` resolved: names into members and diagnostics, what is missing or too much refused.

use toml::Spanned;

use super::source::Wants;
use super::{Scope, Site};
use crate::record::RecordType;
use crate::record::diagnostics::{Diagnostics, nearest};
use crate::record::mapping::file::{self, File, OneOrMore};
use crate::record::mapping::plan::{Cases, Record, Status};
use crate::record::members::Member;
use crate::record::rules::{self, RuleNo};

impl Site<'_> {
    pub(super) fn record(
        &mut self,
        number: usize,
        record: &Spanned<file::Record>,
        file: &File,
        cases: &mut Cases,
        diagnostics: &Diagnostics,
    ) -> anyhow::Result<Record> {
        let start = record.span().start;
        let record = record.get_ref();
        let named = |field: &str| format!("record[{number}].{field}");
        let kind = match (&record.kind, &record.diagnostic) {
            (Some(kind), _) => RecordType::ALL
                .into_iter()
                .find(|k| k.name() == kind.get_ref())
                .ok_or_else(|| {
                    let near = nearest(kind.get_ref(), RecordType::ALL.iter().map(|k| k.name()), 3);
                    self.wrong(
                        kind.span().start,
                        &named("type"),
                        &format!("\"{}\" is no record type; nearest: {near}", kind.get_ref()),
                    )
                })?,
            (None, Some(_)) => RecordType::GenericStatus,
            (None, None) => {
                return Err(self.wrong(
                    start,
                    &named("type"),
                    "missing; name one of the record types, e.g. GpsRecord",
                ));
            }
        };
        if record.once && (file.each.is_none() || record.each.is_some()) {
            return Err(self.wrong(
                start,
                &named("once"),
                "only means something with the file's each; leave it out",
            ));
        }
        let scope = match (&record.each, &file.each) {
            (Some(each), _) => Some(self.list(each, &named("each"))?),
            (None, Some(each)) if !record.once => Some(self.list(each, "each")?),
            _ => None,
        };

        let time = match (&record.time, &file.time) {
            (Some(time), _) => self.time(time, scope, &named("time"))?,
            (None, Some(time)) => self.time(time, scope, "time")?,
            (None, None) => {
                return Err(self.wrong(
                    start,
                    &named("time"),
                    "missing; give the file or this record a time = { path, format }",
                ));
            }
        };
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        let (mut equals, mut differs, mut contains) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(when) = &record.when {
            if let Some(paths) = &when.present {
                present = self.places(
                    &paths.get_ref().0,
                    scope,
                    paths.span().start,
                    &named("when.present"),
                )?;
            }
            if let Some(paths) = &when.absent {
                absent = self.places(
                    &paths.get_ref().0,
                    scope,
                    paths.span().start,
                    &named("when.absent"),
                )?;
            }
            for (conditions, places, field) in [
                (&when.equals, &mut equals, "when.equals"),
                (&when.differs, &mut differs, "when.differs"),
                (&when.contains, &mut contains, "when.contains"),
            ] {
                for (path, OneOrMore(wanted)) in conditions {
                    let at = path.span().start;
                    let place = self.place(path.get_ref(), scope, at, &named(field))?;
                    places.push((place, wanted.clone()));
                }
            }
        }
        let cases = match &record.case {
            None => None,
            Some(OneOrMore(wanted)) => {
                if file.switch.is_none() {
                    return Err(self.wrong(
                        start,
                        &named("case"),
                        "the file has no switch; add switch = { path = ... } or use when",
                    ));
                }
                Some(wanted.iter().map(|literal| cases.number(literal)).collect())
            }
        };

        let status = self.status(kind, start, record, scope, &named, diagnostics)?;
        let mut members = Vec::with_capacity(record.fields.len());
        for (name, source) in &record.fields {
            let field = named(&format!("fields.{}", name.get_ref()));
            let at = name.span().start;
            let member = Member::from_name(name.get_ref()).filter(|m| m.name() == name.get_ref());
            let allowed = rules::fields(kind);
            match member {
                Some(Member::Type) => {
                    return Err(self.wrong(at, &field, "give the record's type as `type`"));
                }
                Some(Member::DateTime) => {
                    return Err(self.wrong(at, &field, "give the time as `time`"));
                }
                Some(Member::SerialNo | Member::DeviceId) => {
                    return Err(self.wrong(
                        at,
                        &field,
                        "give the device in [device], as `serial` or `id`",
                    ));
                }
                Some(Member::Code | Member::Value) if status.is_some() => {
                    return Err(self.wrong(
                        at,
                        &field,
                        "`diagnostic` and `value` set Code and Value; leave this out",
                    ));
                }
                Some(member) if allowed.iter().any(|f| f.member == member) => {
                    let form = allowed.iter().find(|f| f.member == member).map(|f| f.form);
                    let wants = match form {
                        Some(rules::Form::Integer) => Wants::Whole,
                        Some(rules::Form::Number) => Wants::Number,
                        _ => Wants::Any,
                    };
                    let (at, source) = (source.span().start, source.get_ref());
                    members.push((member, self.source(source, scope, wants, at, &field)?));
                }
                _ => {
                    let near = nearest(name.get_ref(), allowed.iter().map(|f| f.member.name()), 3);
                    let problem = format!(
                        "{} has no member \"{}\"; nearest: {near}",
                        kind.name(),
                        name.get_ref()
                    );
                    return Err(self.wrong(at, &field, &problem));
                }
            }
        }
        for wanted in rules::fields(kind)
            .iter()
            .filter(|f| f.absent == Some(RuleNo::MemberMissing))
        {
            let given =
                status.is_some() || members.iter().any(|(member, _)| *member == wanted.member);
            if !given {
                let problem = format!("missing; {} needs it", kind.name());
                return Err(self.wrong(
                    start,
                    &named(&format!("fields.{}", wanted.member.name())),
                    &problem,
                ));
            }
        }
        Ok(Record {
            number,
            kind,
            list: scope,
            cases,
            present,
            absent,
            equals,
            differs,
            contains,
            time,
            own_time: record.time.is_some(),
            members,
            status,
        })
    }

    fn status(
        &mut self,
        kind: RecordType,
        start: usize,
        record: &file::Record,
        scope: Scope,
        named: &dyn Fn(&str) -> String,
        diagnostics: &Diagnostics,
    ) -> anyhow::Result<Option<Status>> {
        let (key, value) = match (&record.diagnostic, &record.value) {
            (None, None) if record.raw => {
                return Err(self.wrong(
                    start,
                    &named("raw"),
                    "only means something with diagnostic and value",
                ));
            }
            (None, None) => return Ok(None),
            (Some(key), Some(value)) => (key, value),
            (Some(key), None) => {
                return Err(self.wrong(
                    key.span().start,
                    &named("value"),
                    "missing; give the path of the diagnostic's value",
                ));
            }
            (None, Some(value)) => {
                return Err(self.wrong(
                    value.span().start,
                    &named("diagnostic"),
                    "missing; name the diagnostic (code or name) of this value",
                ));
            }
        };
        if !matches!(kind, RecordType::GenericStatus | RecordType::Status) {
            let problem = format!(
                "{} carries no diagnostic; use GenericStatusRecord or StatusRecord",
                kind.name()
            );
            return Err(self.wrong(key.span().start, &named("diagnostic"), &problem));
        }
        let diagnostic = diagnostics
            .find(kind, &key.get_ref().0)
            .map_err(|problem| self.wrong(key.span().start, &named("diagnostic"), &problem))?
            .clone();
        let at = value.span().start;
        let source = self.source(value.get_ref(), scope, Wants::Number, at, &named("value"))?;
        Ok(Some(Status {
            diagnostic,
            source,
            raw: record.raw,
        }))
    }
}
