//! A mapping file resolved: paths into slots, names into members and diagnostics, constants checked. Every error names file, line,
//! field and remedy.

use anyhow::anyhow;
use toml::Spanned;

use super::file::{self, File, OneOrMore};
use super::path::{Dots, Path, Scope, Tree};
use super::plan::{Case, Cases, Place, Record, Source, Status, Switch, Time};
use super::value::Change;
use super::{Mapping, line_of, toml_error};
use crate::record::RecordType;
use crate::record::diagnostics::{Diagnostics, nearest};
use crate::record::members::Member;
use crate::record::rules::{self, RuleNo};

/// The file being compiled, for errors and paths.
struct Site<'a> {
    name: &'a str,
    text: &'a str,
    dots: Dots,
    each: bool,
    message: Tree,
    element: Tree,
}

impl Site<'_> {
    fn wrong(&self, at: usize, field: &str, problem: &str) -> anyhow::Error {
        anyhow!(
            "{}:{}: {field}: {problem}",
            self.name,
            line_of(self.text, at)
        )
    }

    fn place(&mut self, text: &str, scope: Scope, at: usize, field: &str) -> anyhow::Result<Place> {
        let path = Path::parse(text, self.dots, scope).map_err(|problem| {
            self.wrong(
                at,
                field,
                &format!(
                    "\"{text}\" is no path: {problem}; write a.b, a[0].b or a.\"key.with.dots\""
                ),
            )
        })?;
        let tree = if path.scope == Scope::Message {
            &mut self.message
        } else {
            &mut self.element
        };
        Ok(Place {
            scope: path.scope,
            slot: tree.slot(&path),
        })
    }

    fn places(
        &mut self,
        texts: &[String],
        scope: Scope,
        at: usize,
        field: &str,
    ) -> anyhow::Result<Vec<Place>> {
        texts
            .iter()
            .map(|text| self.place(text, scope, at, field))
            .collect()
    }

    fn time(
        &mut self,
        time: &Spanned<file::Time>,
        scope: Scope,
        field: &str,
    ) -> anyhow::Result<Time> {
        let at = time.span().start;
        let time = time.get_ref();
        let places = self.places(&time.path.0, scope, at, &format!("{field}.path"))?;
        let text =
            |spanned: &Option<Spanned<String>>| spanned.as_ref().map(|s| s.get_ref().clone());
        let form =
            super::time::Form::compile(text(&time.format).as_deref(), text(&time.zone).as_deref())
                .map_err(|(which, problem)| {
                    let spanned = if which == "format" {
                        &time.format
                    } else {
                        &time.zone
                    };
                    self.wrong(
                        spanned.as_ref().map_or(at, |s| s.span().start),
                        &format!("{field}.{which}"),
                        &problem,
                    )
                })?;
        Ok(Time { places, form })
    }

    fn source(
        &mut self,
        source: &Spanned<file::Source>,
        scope: Scope,
        whole: bool,
        field: &str,
    ) -> anyhow::Result<Source> {
        let at = source.span().start;
        let source = source.get_ref();
        let fail = |site: &Self, problem: &str| Err(site.wrong(at, field, problem));
        match (&source.path, &source.constant) {
            (None, None) => return fail(self, "no value; give a path or a const"),
            (Some(_), Some(_)) => {
                return fail(
                    self,
                    "both path and const; keep one (default is for a path that may be absent)",
                );
            }
            (None, Some(_))
                if source.default.is_some()
                    || source.map.is_some()
                    || source.factor.is_some()
                    || source.offset.is_some() =>
            {
                return fail(
                    self,
                    "a const takes no default, map, factor or offset; write the final value",
                );
            }
            _ => {}
        }
        if source.map.is_some() && (source.factor.is_some() || source.offset.is_some()) {
            return fail(
                self,
                "map with factor or offset; put the final numbers into the map",
            );
        }
        if source.otherwise.is_some() && source.map.is_none() {
            return fail(
                self,
                "otherwise without map; use default for an absent value",
            );
        }
        let line = match (source.factor, source.offset) {
            (None, None) => None,
            (factor, offset) => Some((factor.unwrap_or(1.0), offset.unwrap_or(0.0))),
        };
        if line.is_some_and(|(factor, offset)| {
            !factor.is_finite() || !offset.is_finite() || factor == 0.0
        }) {
            return fail(self, "factor must be finite and not 0, offset finite");
        }
        // What was computed is rounded: a product of two numbers is hardly ever whole.
        let form = source
            .form
            .or((whole && line.is_some()).then_some(file::Form::Integer));
        let places = match &source.path {
            Some(paths) => self.places(&paths.0, scope, at, field)?,
            None => Vec::new(),
        };
        Ok(Source {
            places,
            constant: source.constant.clone(),
            default: source.default.clone(),
            change: Change {
                map: source
                    .map
                    .as_ref()
                    .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
                otherwise: source.otherwise.clone(),
                line,
                form,
            },
            whole,
        })
    }

    fn record(
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
        if record.once && !self.each {
            return Err(self.wrong(
                start,
                &named("once"),
                "only means something with each; leave it out",
            ));
        }
        let scope = if self.each && !record.once {
            Scope::Element
        } else {
            Scope::Message
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
        let (mut present, mut absent, mut equals) = (Vec::new(), Vec::new(), Vec::new());
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
            for (path, OneOrMore(wanted)) in &when.equals {
                let place = self.place(
                    path.get_ref(),
                    scope,
                    path.span().start,
                    &named("when.equals"),
                )?;
                equals.push((place, wanted.clone()));
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
                    let whole = allowed
                        .iter()
                        .any(|f| f.member == member && f.form == rules::Form::Integer);
                    members.push((member, self.source(source, scope, whole, &field)?));
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
            kind,
            once: record.once,
            cases,
            present,
            absent,
            equals,
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
        let source = self.source(value, scope, false, &named("value"))?;
        Ok(Some(Status {
            diagnostic,
            source,
            raw: record.raw,
        }))
    }
}

/// Compiles a mapping file's text; `name` is used in errors.
pub fn compile(name: &str, text: &str, diagnostics: &Diagnostics) -> anyhow::Result<Mapping> {
    let file: File = toml::from_str(text).map_err(|error| toml_error(name, text, &error))?;
    let mut site = Site {
        name,
        text,
        dots: file.paths,
        each: file.each.is_some(),
        message: Tree::default(),
        element: Tree::default(),
    };
    let each = match &file.each {
        None => None,
        Some(path) => {
            Some(site.place(path.get_ref(), Scope::Message, path.span().start, "each")?)
        }
    };
    let mut device = |paths: &Option<Spanned<file::Paths>>, field: &str| match paths {
        None => Ok(Vec::new()),
        Some(paths) => site.places(
            &paths.get_ref().0,
            Scope::Message,
            paths.span().start,
            field,
        ),
    };
    let serial = device(&file.device.serial, "device.serial")?;
    let id = device(&file.device.id, "device.id")?;
    if serial.is_empty() && id.is_empty() {
        let at = text.find("device").unwrap_or(0);
        return Err(site.wrong(
            at,
            "device",
            "neither serial nor id; say where the Geotab serial or your device id lies",
        ));
    }
    let mut cases = Cases::default();
    let switch_places = match &file.switch {
        None => Vec::new(),
        Some(switch) => {
            for literal in &switch.ignore {
                cases
                    .known
                    .insert(literal.scalar().text().into_owned(), Case::Ignore);
            }
            site.places(
                &switch.path.get_ref().0,
                Scope::Message,
                switch.path.span().start,
                "switch.path",
            )?
        }
    };
    if file.record.is_empty() {
        return Err(site.wrong(
            text.len(),
            "record",
            "none; a mapping needs at least one [[record]]",
        ));
    }
    let mut records = Vec::with_capacity(file.record.len());
    for (number, record) in file.record.iter().enumerate() {
        records.push(site.record(number + 1, record, &file, &mut cases, diagnostics)?);
    }
    let switch = file.switch.as_ref().map(|switch| Switch {
        places: switch_places,
        cases: cases.known,
        otherwise: switch.otherwise,
    });
    Ok(Mapping {
        name: name.to_owned(),
        description: file.description.unwrap_or_default(),
        message: site.message,
        element: site.element,
        each,
        serial,
        id,
        switch,
        unmatched: file.unmatched,
        records,
    })
}
