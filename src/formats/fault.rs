//! What is wrong with a message that cannot be turned into JSON; it becomes a letter.
//!
//! Only built for what is refused, so it may allocate.

use crate::record::{Reject, Stage};

/// The rules that decoding can break, with what each means; for `dig-ingest explain`.
pub const RULES: [(&str, &str); 6] = [
    (
        HEADER,
        "The message does not begin with the header of a schema registry: a zero byte, the schema's id in four bytes, and for Protobuf the place of the message type.",
    ),
    (
        UNKNOWN,
        "No schema registry of `schema_registry.urls` knows the schema id of the message.",
    ),
    (
        SCHEMA,
        "The schema of the message cannot be used: of another format than `input.formats` says, invalid, too large, with references that are missing, or not readable with the topic's reader schema.",
    ),
    (PAYLOAD, "The bytes of the message do not fit its schema."),
    (
        SIZE,
        "The message, or the JSON that it stands for, is larger than `validate.max_message_bytes`.",
    ),
    (
        DEPTH,
        "The message is nested deeper than `validate.max_depth`.",
    ),
];

pub(super) const HEADER: &str = "format.header";
pub(super) const UNKNOWN: &str = "format.unknown";
pub(super) const SCHEMA: &str = "format.schema";
pub(super) const PAYLOAD: &str = "format.payload";
pub(super) const SIZE: &str = "format.size";
pub(super) const DEPTH: &str = "format.depth";

/// Longest path that is built; what lies deeper is shown without its beginning.
const PATH: usize = 200;

/// A broken rule on its way to a [`Reject`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub rule: &'static str,
    /// Dotted path of the member; empty when the message as a whole is meant.
    pub field: String,
    /// What was found.
    pub value: String,
    /// What would have been right.
    pub bound: String,
}

/// A fault is rare and large; a result of every member is neither.
pub(super) type Checked<T = ()> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(super) fn new(
        rule: &'static str,
        value: impl Into<String>,
        bound: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self {
            rule,
            field: String::new(),
            value: shorten(&value.into()),
            bound: bound.into(),
        })
    }

    /// The payload does not fit its schema.
    #[cold]
    pub(super) fn payload(value: impl Into<String>, bound: impl Into<String>) -> Box<Self> {
        Self::new(PAYLOAD, value, bound)
    }

    /// The schema cannot be used.
    #[cold]
    pub(super) fn schema(value: impl Into<String>, bound: impl Into<String>) -> Box<Self> {
        Self::new(SCHEMA, value, bound)
    }

    /// The fault lies in this member of what is around it.
    #[cold]
    pub(super) fn of_member(mut self: Box<Self>, name: &str) -> Box<Self> {
        if self.field.len() <= PATH {
            let dot = if self.field.is_empty() || self.field.starts_with('[') {
                ""
            } else {
                "."
            };
            self.field = format!("{}{dot}{}", shorten(name), self.field);
        }
        self
    }

    /// The fault lies in this element of an array.
    #[cold]
    pub(super) fn of_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        if self.field.len() <= PATH {
            let dot = if self.field.is_empty() || self.field.starts_with('[') {
                ""
            } else {
                "."
            };
            self.field = format!("[{index}]{dot}{}", self.field);
        }
        self
    }

    /// The same fault, naming the schema it belongs to.
    pub(super) fn of_schema(mut self, id: u32) -> Self {
        self.value = format!("schema id {id}: {}", self.value);
        self
    }

    /// As a reject of a whole message of so many bytes.
    #[must_use]
    pub fn reject(self, message_bytes: usize) -> Reject {
        Reject {
            rule: self.rule,
            field: self.field,
            value: self.value,
            bound: self.bound,
            stage: Stage::Decode,
            subject: None,
            original: 0..message_bytes,
        }
    }
}

/// The first 120 characters.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(120) {
        None => text.to_owned(),
        Some((end, _)) => text[..end].to_owned(),
    }
}
