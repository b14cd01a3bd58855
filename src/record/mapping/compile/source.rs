//! A value or a time resolved: where it comes from, what is cut out of it, what it is turned into.

use regex::Regex;
use toml::Spanned;

use super::{Scope, Site};
use crate::record::mapping::cut::{Binary, Cut};
use crate::record::mapping::file::{self, Unit};
use crate::record::mapping::plan::{Source, Time};
use crate::record::mapping::time::{Form, SECOND};
use crate::record::mapping::value::Change;

/// What the use of a value wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Any,
    Number,
    Whole,
}

impl Site<'_> {
    pub(super) fn time(
        &mut self,
        time: &Spanned<file::Time>,
        scope: Scope,
        field: &str,
    ) -> anyhow::Result<Time> {
        let at = time.span().start;
        let time = time.get_ref();
        let source = self.source(
            &time.source,
            scope,
            Wants::Any,
            at,
            &format!("{field}.path"),
        )?;
        if source.places.is_empty() {
            return Err(self.wrong(at, field, "no path; a time is read from the message"));
        }
        let text =
            |spanned: &Option<Spanned<String>>| spanned.as_ref().map(|s| s.get_ref().clone());
        let form = Form::compile(
            text(&time.format).as_deref(),
            text(&time.zone).as_deref(),
            time.doubled,
        )
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
        let mut span =
            |span: &Option<file::Span>, name: &str| -> anyhow::Result<Option<(Source, f64)>> {
                match span {
                    None => Ok(None),
                    Some(span) => {
                        let field = format!("{field}.{name}");
                        let source = self.source(&span.source, scope, Wants::Number, at, &field)?;
                        let ticks = match span.unit {
                            Unit::S => SECOND as f64,
                            Unit::Ms => SECOND as f64 / 1e3,
                            Unit::Us => SECOND as f64 / 1e6,
                        };
                        Ok(Some((source, ticks)))
                    }
                }
            };
        let (add, step) = (span(&time.add, "add")?, span(&time.step, "step")?);
        if step.is_some() && scope.is_none() {
            return Err(self.wrong(
                at,
                &format!("{field}.step"),
                "only means something with each: it lies between an element and the next one",
            ));
        }
        Ok(Time {
            source,
            form,
            add,
            step,
        })
    }

    pub(super) fn source(
        &mut self,
        source: &file::Source,
        scope: Scope,
        wants: Wants,
        at: usize,
        field: &str,
    ) -> anyhow::Result<Source> {
        if let Some(problem) = contradiction(source) {
            return Err(self.wrong(at, field, problem));
        }
        let line = match (source.factor, source.offset) {
            (None, None) => None,
            (factor, offset) => Some((factor.unwrap_or(1.0), offset.unwrap_or(0.0))),
        };
        if line.is_some_and(|(factor, offset)| {
            !factor.is_finite() || !offset.is_finite() || factor == 0.0
        }) {
            return Err(self.wrong(at, field, "factor must be finite and not 0, offset finite"));
        }
        let cut = cut(source).map_err(|problem| self.wrong(at, field, &problem))?;
        let whole = wants == Wants::Whole;
        // What was computed is rounded: a product of two numbers is hardly ever whole.
        let computed = line.is_some() || source.units.is_some();
        let form = source
            .form
            .or((whole && computed).then_some(file::Form::Integer));
        let places = match source.path.as_ref().or(source.join.as_ref()) {
            Some(paths) => self.places(&paths.0, scope, at, field)?,
            None => Vec::new(),
        };
        let joined = source.join.is_some();
        Ok(Source {
            places,
            join: joined.then(|| source.separator.clone().unwrap_or_else(|| " ".to_owned())),
            constant: source.constant.clone(),
            default: source.default.clone(),
            cut,
            change: Change {
                map: source
                    .map
                    .as_ref()
                    .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
                otherwise: source.otherwise.clone(),
                line,
                form,
            },
            number: wants != Wants::Any,
            whole,
        })
    }
}

/// Keys that exclude or need each other.
fn contradiction(source: &file::Source) -> Option<&'static str> {
    let read = source.path.is_some() || source.join.is_some();
    let changed = source.default.is_some()
        || source.map.is_some()
        || source.factor.is_some()
        || source.offset.is_some()
        || is_cut(source);
    Some(match () {
        () if source.path.is_some() && source.join.is_some() => {
            "both path and join; keep one (a list in path is of alternatives, one in join is of parts)"
        }
        () if read && source.constant.is_some() => {
            "both path and const; keep one (default is for a path that may be absent)"
        }
        () if !read && source.constant.is_none() => "no value; give a path or a const",
        () if !read && changed => {
            "a const is taken as it is: write the final value, without default, map, factor, offset and what cuts"
        }
        () if source.map.is_some() && (source.factor.is_some() || source.offset.is_some()) => {
            "map with factor or offset; put the final numbers into the map"
        }
        () if source.otherwise.is_some() && source.map.is_none() => {
            "otherwise without map; use default for an absent value"
        }
        () if source.separator.is_some() && source.join.is_none() => {
            "separator without join; to take a text apart use split and item"
        }
        () if source.split.is_some() != source.item.is_some() => {
            "split and item go together: split = \",\", item = 0 is the first item"
        }
        () if source.split.as_deref() == Some("") => {
            "split is empty; use chars for single characters"
        }
        () if source.binary.is_some() != source.read.is_some() => {
            "binary and read go together: binary = \"base64\", at = 0, read = \"u16_be\""
        }
        () if source.at.is_some() && source.binary.is_none() => {
            "at without binary; it is the place of a byte in one"
        }
        () if source.bit.is_some() && source.bits.is_some() => {
            "both bit and bits; bit is one as a boolean, bits are several as a number"
        }
        () if source.bit.is_some_and(|bit| bit > 63) => "bit is 0 (the lowest) to 63",
        () if source
            .bits
            .is_some_and(|(low, high)| low > high || high > 63) =>
        {
            "bits are [lowest, highest], 0 to 63"
        }
        () if source
            .chars
            .is_some_and(|(first, last)| first > last && (first < 0) == (last < 0)) =>
        {
            "chars are [first, last], from 0; negative numbers count from the end"
        }
        () => return None,
    })
}

fn is_cut(source: &file::Source) -> bool {
    source.split.is_some()
        || source.matching.is_some()
        || source.chars.is_some()
        || source.binary.is_some()
        || source.bits.is_some()
        || source.bit.is_some()
        || source.decimal.is_some()
        || source.units.is_some()
}

fn cut(source: &file::Source) -> Result<Option<Box<Cut>>, String> {
    if !is_cut(source) {
        return Ok(None);
    }
    let pattern = match &source.matching {
        None => None,
        Some(pattern) => Some(Regex::new(pattern).map_err(|error| {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default();
            format!("match: \"{pattern}\" is no regular expression: {last}")
        })?),
    };
    let decimal = match source.decimal.as_deref() {
        None => None,
        Some(".") => Some('.'),
        Some(",") => Some(','),
        Some(_) => return Err("decimal is \",\" or \".\"".to_owned()),
    };
    let units: Option<Vec<_>> = source.units.as_ref().map(|units| {
        let trimmed = units.iter().map(|(unit, by)| (unit.trim().to_owned(), *by));
        trimmed.collect()
    });
    if units
        .iter()
        .flatten()
        .any(|(_, by)| !by.is_finite() || *by == 0.0)
    {
        return Err("the factors of units are finite and not 0".to_owned());
    }
    Ok(Some(Box::new(Cut {
        split: source.split.clone().zip(source.item),
        pattern,
        chars: source.chars,
        binary: source.binary.zip(source.read).map(|(coding, read)| Binary {
            coding,
            at: usize::from(source.at.unwrap_or(0)),
            read,
        }),
        bits: source.bits,
        bit: source.bit,
        decimal,
        units,
    })))
}
