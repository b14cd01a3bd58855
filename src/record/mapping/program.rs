//! The jq program of a mapping: compiled once, run for each message, its outputs taken as messages or as records.
//!
//! With `[[record]]` tables each output is a vendor message of its own, which the tables map. Without them each output is a record in
//! the gateway's shape, or a draft of a status record: `Diagnostic` (name or code) and `Value` in place of `Code` and the raw integer.
//!
//! * V1: a program that fails, or an output that is no record, is a reject of the message; a message without outputs ends as
//!   `unmatched` says.
//! * V2: outputs before a failure are kept.
//! * Outputs of one message are bounded, by number and by bytes; deeper ones than `validate.max_depth` are refused.
//! * A program reads the message and what Kafka says of it, and nothing else: no clock, environment, file or output of its own.
//!
//! It does not bound what a program does between two outputs: the program is the operator's, as the settings are.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use jaq_core::compile::Undefined;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{Fun, run};
use jaq_core::{Compiler, Ctx, Filter, RunPtr, Vars, data::JustLut};
use jaq_json::{Map, Rc, Val, read};
use toml::Spanned;

use super::file::Unmatched;
use super::record_builder::{TIMES, reject};
use super::{Fault, Mapping, line_of, shorten};
use crate::record::decode::Checker;
use crate::record::diagnostics::{Diagnostics, Key};
use crate::record::origin::Origin;
use crate::record::{Decoded, Outcome, RecordType, SerialOf, repair};

type Data = JustLut<Val>;

/// What an output counts beside its bytes.
const OUTPUT_BYTES: usize = 512;

/// The variable that holds what Kafka says of the message.
const KAFKA: &str = "$kafka";

/// Native filters that a mapping has no use for: it reads a message and nothing else.
const LEFT_OUT: [&str; 5] = ["env", "now", "halt", "stderr_empty", "debug_empty"];

/// A compiled jq program.
pub struct Program {
    filter: Filter<Data>,
    /// Whether the program names [`KAFKA`].
    reads_kafka: bool,
    /// Looked up for drafts; `None` when tables map the outputs.
    diagnostics: Option<Diagnostics>,
    /// Name and fingerprint of the file it is in; `None` where the mapping file holds it.
    file: Option<(String, u64)>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

/// Where a program was written, for errors.
struct Source {
    name: String,
    code: String,
    /// Lines of the file before the program's first.
    before: usize,
}

impl Source {
    /// `text` is the mapping file's, `written` the value of `jq` in it.
    fn read(name: &str, text: &str, written: &Spanned<String>) -> anyhow::Result<Self> {
        let (span, code) = (written.span(), written.get_ref());
        let line = line_of(text, span.start);
        if code.lines().count() > 1 || !code.trim().ends_with(".jq") {
            let quoted = text.get(span).unwrap_or_default();
            let opened = quoted
                .strip_prefix("'''")
                .or_else(|| quoted.strip_prefix("\"\"\""));
            let starts_below =
                opened.is_some_and(|rest| rest.trim_start_matches('\r').starts_with('\n'));
            return Ok(Self {
                name: name.to_owned(),
                code: code.clone(),
                before: line - 1 + usize::from(starts_below),
            });
        }
        let file = Path::new(name)
            .parent()
            .unwrap_or(Path::new(""))
            .join(code.trim());
        let code = std::fs::read_to_string(&file).map_err(|error| {
            anyhow!(
                "{name}:{line}: jq: cannot read the program {}: {error}; name a file beside the mapping, or write the program itself",
                file.display()
            )
        })?;
        Ok(Self {
            name: file.display().to_string(),
            code,
            before: 0,
        })
    }

    /// `part` is a part of the program.
    fn wrong(&self, part: &str, problem: &str) -> anyhow::Error {
        let at = load::span(&self.code, part).start;
        let line = line_of(&self.code, at);
        let shown = self.code.lines().nth(line - 1).unwrap_or_default().trim();
        anyhow!(
            "{}:{}: jq: {problem} in `{shown}`; see config/mappings/README.md",
            self.name,
            self.before + line
        )
    }

    fn not_loaded(&self, error: load::Error<&str>) -> anyhow::Error {
        match error {
            load::Error::Io(errors) => match errors.first() {
                Some((part, problem)) => self.wrong(part, problem),
                None => self.wrong("", "it cannot be loaded"),
            },
            load::Error::Lex(errors) => match errors.first() {
                Some((expected, part)) => {
                    self.wrong(part, &format!("expected {}", expected.as_str()))
                }
                None => self.wrong("", "it cannot be read"),
            },
            load::Error::Parse(errors) => match errors.first() {
                Some((expected, part)) => {
                    self.wrong(part, &format!("expected {}", expected.as_str()))
                }
                None => self.wrong("", "it cannot be read"),
            },
        }
    }
}

/// The native filters: those of jq but [`LEFT_OUT`], for which there are silent or refusing ones where the library needs the name.
fn natives() -> impl Iterator<Item = Fun<Data>> {
    let all = jaq_core::funs::<Data>()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    let silent: [(&'static str, usize, RunPtr<Data>); 3] = [
        ("stderr_empty", 0, |_| Box::new(std::iter::empty())),
        ("debug_empty", 0, |_| Box::new(std::iter::empty())),
        ("halt", 1, |_| {
            let error =
                jaq_core::Error::str("a mapping's program cannot halt; use `empty` or `error`");
            Box::new(std::iter::once(Err(error.into())))
        }),
    ];
    let silent = silent
        .into_iter()
        .map(|(name, arity, filter)| run::<Data>((name, jaq_core::native::v(arity), filter)));
    all.filter(|(name, ..)| !LEFT_OUT.contains(name))
        .chain(silent)
}

impl Program {
    /// Compiles the program that a mapping file names or holds.
    ///
    /// # Errors
    /// The program cannot be read or is no jq: file, line, remedy.
    pub fn compile(
        name: &str,
        text: &str,
        written: &Spanned<String>,
        diagnostics: Option<&Diagnostics>,
    ) -> anyhow::Result<Self> {
        let source = Source::read(name, text, written)?;
        let prelude = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let arena = Arena::default();
        let file = File {
            code: source.code.as_str(),
            path: (),
        };
        let modules = Loader::new(prelude).load(&arena, file).map_err(|errors| {
            match errors.into_iter().next() {
                Some((_, error)) => source.not_loaded(error),
                None => source.wrong("", "it cannot be loaded"),
            }
        })?;
        let compiled = Compiler::default()
            .with_funs(natives())
            .with_global_vars([KAFKA])
            .compile(modules);
        let filter = compiled.map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
            match first {
                Some((part, Undefined::Filter(arity))) => source.wrong(
                    part,
                    &format!("there is no filter {part}/{arity} for mappings"),
                ),
                Some((part, kind)) => {
                    source.wrong(part, &format!("there is no {} {part}", kind.as_str()))
                }
                None => source.wrong("", "it cannot be compiled"),
            }
        })?;
        Ok(Self {
            filter,
            reads_kafka: source.code.contains(KAFKA),
            diagnostics: diagnostics.cloned(),
            file: (source.name != name)
                .then(|| (source.name.clone(), super::fingerprint(&source.code))),
        })
    }

    /// The file beside the mapping's that the program is in, with the fingerprint of its text.
    pub(super) fn file(&self) -> Option<(String, u64)> {
        self.file.clone()
    }

    /// Runs the program on one payload, which is JSON of a bounded depth, and appends what its outputs came to.
    pub(super) fn decode(
        &self,
        mapping: &Mapping,
        payload: &[u8],
        origin: &Origin<'_>,
        (devices, now): (&impl SerialOf, i64),
        checker: &mut Checker,
        out: &mut Decoded,
    ) {
        let Some(input) = parsed(payload) else {
            return checker.refuse_unreadable(payload, out);
        };
        let whole = 0..payload.len();
        let most = checker.rules().max_message_bytes() * TIMES;
        let before = (out.bytes.len(), out.outcomes.len());
        let kafka = if self.reads_kafka {
            facts(origin)
        } else {
            Val::Null
        };
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([kafka]));
        let (mut outputs, mut made) = (0, 0);
        let mut text = String::new();
        for output in self.filter.id.run((context, input)) {
            outputs += 1;
            text.clear();
            let failed = output.is_err();
            let written = match output {
                Ok(output) => self.written(output, checker.rules().max_depth(), most, &mut text),
                Err(exception) => Err(Fault {
                    rule: "map.jq",
                    field: String::new(),
                    value: match exception.get_err().map(jaq_core::Error::into_val) {
                        Ok(Val::TStr(text)) => shorten(&String::from_utf8_lossy(&text)),
                        Ok(value) => shorten(&value.to_string()),
                        Err(_) => "a break without its label".to_owned(),
                    },
                    bound: "a program that does not fail".to_owned(),
                }),
            };
            if let Some(trace) = &mut checker.trace {
                trace.push(match &written {
                    Ok(()) => format!("output {outputs} of the program: {}", shorten(&text)),
                    Err(fault) => format!("output {outputs} of the program is rejected: {fault}"),
                });
            }
            made += text.len() + OUTPUT_BYTES;
            if made > most {
                out.take_back(before);
                let fault = Fault {
                    rule: "map.size",
                    field: String::new(),
                    value: format!("{outputs} outputs of the program"),
                    bound: format!(
                        "at most {most} bytes, each output counted with {OUTPUT_BYTES} more"
                    ),
                };
                return out.reject(fault.rule, || reject(fault, None, &whole));
            }
            match written {
                Err(fault) => {
                    out.reject(fault.rule, || reject(fault, None, &whole));
                    // As jq does; the library would go on.
                    if failed {
                        break;
                    }
                }
                Ok(()) if self.diagnostics.is_none() => {
                    mapping.text(
                        text.as_bytes(),
                        Some(&whole),
                        origin,
                        (devices, now),
                        checker,
                        out,
                    );
                }
                Ok(()) => {
                    let from = out.outcomes.len();
                    checker.native(text.as_bytes(), devices, now, out);
                    for outcome in &mut out.outcomes[from..] {
                        of_message(outcome, text.as_bytes(), &whole);
                    }
                }
            }
        }
        if outputs == 0 {
            match mapping.unmatched {
                Unmatched::Skip => out.note("map.unmatched"),
                Unmatched::Reject => {
                    let fault = Fault {
                        rule: "map.unmatched",
                        field: String::new(),
                        value: "the program has no output".to_owned(),
                        bound: "at least one output".to_owned(),
                    };
                    out.reject(fault.rule, || reject(fault, None, &whole));
                }
            }
        }
    }

    /// Writes an output as JSON, drafts as records.
    fn written(
        &self,
        output: Val,
        max_depth: usize,
        most: usize,
        text: &mut String,
    ) -> Result<(), Fault> {
        let fault = |value: &str, bound: &str| Fault {
            rule: "map.jq",
            field: String::new(),
            value: value.to_owned(),
            bound: bound.to_owned(),
        };
        match extent(&output) {
            (depth, _) if depth > max_depth => {
                dismantle(output);
                return Err(fault(
                    "an output nested too deeply",
                    "at most validate.max_depth levels",
                ));
            }
            (_, values) if values > most => {
                dismantle(output);
                return Err(fault(
                    "an output of too many values",
                    "outputs of the size of messages",
                ));
            }
            _ => {}
        }
        let output = match &self.diagnostics {
            Some(diagnostics) => drafted(output, diagnostics)?,
            None => output,
        };
        if write!(text, "{output}").is_err() || text.len() > most {
            text.clear();
            return Err(fault(
                "an output of too many bytes",
                "outputs of the size of messages",
            ));
        }
        Ok(())
    }
}

/// A payload as jq has it: integers of any size, of members that stand twice the last.
fn parsed(payload: &[u8]) -> Option<Val> {
    if let Ok(value) = read::parse_single(payload) {
        return Some(value);
    }
    let mut repaired = Vec::new();
    repair::quoted(payload, &mut repaired);
    read::parse_single(&repaired).ok()
}

/// What Kafka says of a message.
fn facts(origin: &Origin<'_>) -> Val {
    let text = |bytes: &[u8]| Val::utf8_str(bytes.to_vec());
    let mut headers = Map::default();
    origin.headers.each(&mut |name, value| {
        headers.insert(Val::from(name.to_owned()), text(value));
    });
    let number = |value: i64| isize::try_from(value).map_or(Val::Null, Val::from);
    let members = [
        ("topic", Val::from(origin.topic.to_owned())),
        ("partition", number(origin.partition.into())),
        ("offset", number(origin.offset)),
        (
            "timestamp_ms",
            origin.timestamp_ms.map_or(Val::Null, number),
        ),
        ("key", origin.key.map_or(Val::Null, text)),
        ("headers", Val::obj(headers)),
    ];
    let members = members
        .into_iter()
        .map(|(name, value)| (Val::from(name.to_owned()), value));
    Val::obj(members.collect())
}

/// The depth of a value, and the values within it. Does not recurse.
fn extent(value: &Val) -> (usize, usize) {
    let (mut deepest, mut values) = (0, 0);
    let mut open = vec![(value, 1)];
    while let Some((value, depth)) = open.pop() {
        values += 1;
        match value {
            Val::Arr(elements) => {
                deepest = deepest.max(depth);
                open.extend(elements.iter().map(|element| (element, depth + 1)));
            }
            Val::Obj(members) => {
                deepest = deepest.max(depth);
                open.extend(members.values().map(|member| (member, depth + 1)));
            }
            _ => {}
        }
    }
    (deepest, values)
}

/// Drops a value of any depth: dropped as it is, each level would take a part of the stack.
fn dismantle(value: Val) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Val::Arr(elements) => open.extend(Rc::try_unwrap(elements).unwrap_or_default()),
            Val::Obj(members) => {
                let members = Rc::try_unwrap(members).unwrap_or_default();
                open.extend(members.into_iter().map(|(_, member)| member));
            }
            _ => {}
        }
    }
}

/// A draft, or the drafts of an array, as records; anything else as it is.
fn drafted(output: Val, diagnostics: &Diagnostics) -> Result<Val, Fault> {
    match output {
        Val::Arr(elements) => {
            let elements = Rc::try_unwrap(elements).unwrap_or_else(|shared| (*shared).clone());
            let drafted: Result<Vec<Val>, Fault> = elements
                .into_iter()
                .map(|element| drafted_one(element, diagnostics))
                .collect();
            Ok(Val::Arr(Rc::new(drafted?)))
        }
        other => drafted_one(other, diagnostics),
    }
}

fn drafted_one(output: Val, diagnostics: &Diagnostics) -> Result<Val, Fault> {
    let Val::Obj(members) = &output else {
        return Ok(output);
    };
    let member = |name: &str| members.get(&Val::from(name.to_owned()));
    let Some(named) = member("Diagnostic") else {
        return Ok(output);
    };
    let fault = |field: &str, value: &Val, bound: String| Fault {
        rule: "map.jq",
        field: field.to_owned(),
        value: shorten(&value.to_string()),
        bound,
    };
    let kind = match member("Type").map(ToString::to_string).as_deref() {
        None | Some("\"GenericStatusRecord\"") => RecordType::GenericStatus,
        Some("\"StatusRecord\"") => RecordType::Status,
        Some(_) => {
            let bound = "GenericStatusRecord or StatusRecord, which carry a diagnostic".to_owned();
            return Err(fault("Type", member("Type").unwrap_or(&Val::Null), bound));
        }
    };
    let key = match named {
        Val::TStr(name) => Key::Name(String::from_utf8_lossy(name).into_owned()),
        Val::Num(number) => match number.as_isize() {
            Some(code) => Key::Code(code as i64),
            None => return Err(fault("Diagnostic", named, "a code or a name".to_owned())),
        },
        _ => return Err(fault("Diagnostic", named, "a code or a name".to_owned())),
    };
    let diagnostic = diagnostics
        .find(kind, &key)
        .map_err(|problem| fault("Diagnostic", named, problem))?;
    let value = member("Value").unwrap_or(&Val::Null);
    let number: f64 = match value {
        Val::Num(_) => value.to_string().parse().unwrap_or(f64::NAN),
        _ => return Err(fault("Value", value, "a number".to_owned())),
    };
    let raw = matches!(member("Raw"), Some(Val::Bool(true)));
    let raw = diagnostic
        .raw_of(number, raw)
        .map_err(|(raw, bound)| Fault {
            rule: "map.status.length",
            field: "Value".to_owned(),
            value: raw.to_string(),
            bound,
        })?;
    let mut made = Map::default();
    let mut set = |name: &str, value: Val| made.insert(Val::from(name.to_owned()), value);
    set("Type", Val::from(kind.name().to_owned()));
    set("Code", Val::from(diagnostic.code as isize));
    set("Value", isize::try_from(raw).map_or(Val::Null, Val::from));
    for (name, value) in members.iter() {
        let known = ["Type", "Code", "Value", "Diagnostic", "Raw"];
        if !known
            .iter()
            .any(|known| *name == Val::from((*known).to_owned()))
        {
            made.insert(name.clone(), value.clone());
        }
    }
    Ok(Val::obj(made))
}

/// An outcome of an output as one of the message.
fn of_message(outcome: &mut Outcome, output: &[u8], whole: &Range<usize>) {
    match outcome {
        Outcome::Valid(_) => {}
        Outcome::Unknown(unknown) => {
            let record = output.get(unknown.original.clone()).unwrap_or(output);
            unknown.record.get_or_insert_with(|| record.into());
            unknown.original = whole.clone();
        }
        Outcome::Reject(reject) => reject.original = whole.clone(),
        Outcome::Excess(excess) => {
            for example in &mut excess.examples {
                example.original = whole.clone();
            }
        }
    }
}
