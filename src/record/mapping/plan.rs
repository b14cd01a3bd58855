//! A compiled mapping's parts: plain values.

use std::collections::HashMap;

use super::file::{Literal, Unmatched};
use super::path::Scope;
use super::time;
use super::value::Change;
use crate::record::RecordType;
use crate::record::diagnostics::Diagnostic;
use crate::record::members::Member;

/// A path's slot in the tree of its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub scope: Scope,
    pub slot: u32,
}

#[derive(Debug)]
pub struct Record {
    pub kind: RecordType,
    /// Made once per message although the mapping has `each`.
    pub once: bool,
    /// Cases of the switch this record is for; `None`: all.
    pub cases: Option<Vec<u32>>,
    pub present: Vec<Place>,
    pub absent: Vec<Place>,
    pub equals: Vec<(Place, Vec<Literal>)>,
    pub time: Time,
    /// The time is this record's own, not the file's.
    pub own_time: bool,
    pub members: Vec<(Member, Source)>,
    pub status: Option<Status>,
}

#[derive(Debug)]
pub struct Time {
    pub places: Vec<Place>,
    pub form: time::Form,
}

#[derive(Debug)]
pub struct Source {
    pub places: Vec<Place>,
    pub constant: Option<Literal>,
    pub default: Option<Literal>,
    pub change: Change,
    /// The member takes whole numbers: 12.0 is passed on as 12.
    pub whole: bool,
}

#[derive(Debug)]
pub struct Status {
    pub diagnostic: Diagnostic,
    pub source: Source,
    /// The vendor's value is the raw integer already.
    pub raw: bool,
}

/// What a value of the switch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Ignore,
    Number(u32),
}

#[derive(Debug)]
pub struct Switch {
    pub places: Vec<Place>,
    pub cases: HashMap<String, Case>,
    pub otherwise: Unmatched,
}

/// The switch's cases as they are named.
#[derive(Default)]
pub struct Cases {
    pub known: HashMap<String, Case>,
    next: u32,
}

impl Cases {
    pub fn number(&mut self, literal: &Literal) -> u32 {
        let next = self.next;
        match self
            .known
            .entry(literal.scalar().text().into_owned())
            .or_insert(Case::Number(next))
        {
            Case::Number(number) => {
                if *number == next {
                    self.next += 1;
                }
                *number
            }
            // A type both ignored and named by a record: the record wins.
            case @ Case::Ignore => {
                *case = Case::Number(next);
                self.next += 1;
                next
            }
        }
    }
}
