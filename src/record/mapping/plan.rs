//! A compiled mapping's parts: plain values.

use std::collections::HashMap;

use super::cut::Cut;
use super::file::{Literal, Unmatched};
use super::path::Step;
use super::time;
use super::value::Change;
use crate::record::RecordType;
use crate::record::diagnostics::Diagnostic;
use crate::record::members::Member;

/// Where a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValuePath {
    /// A slot of a tree of paths.
    Slot { tree: u16, slot: u32 },
    /// A [`Peer`], by number.
    Peer(u16),
    /// A [`Mapping::abouts`](super::Mapping), by number.
    About(u16),
}

/// A value of another array at the index of the element in hand: `$.speeds[@]`.
#[derive(Debug)]
pub struct Peer {
    /// The other array.
    pub array: ValuePath,
    /// From the array's element on.
    pub tail: Vec<Step>,
    /// The list whose innermost elements it goes along with.
    pub list: usize,
    /// For people.
    pub name: String,
}

/// What a list goes over at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Elements,
    /// The members of an object.
    Members,
    /// The parts of a text: `each = { path, split }`.
    Parts,
}

/// One level of a list.
#[derive(Debug)]
pub struct Level {
    /// Where it begins: in the message, or in an element of the level above.
    pub place: ValuePath,
    pub over: Over,
    /// The tree of paths that start at its elements.
    pub tree: u16,
}

/// The elements that records are made of: an array, or arrays in arrays.
#[derive(Debug)]
pub struct List {
    /// From the message inwards; at least one.
    pub levels: Vec<Level>,
    /// What parts the texts of the last level.
    pub split: String,
    /// Whether an element names its own device.
    pub own_device: bool,
    /// The device's places from the element, where it does.
    pub device: Device,
}

/// Where the device's name is.
#[derive(Debug, Default)]
pub struct Device {
    pub serial: Vec<Source>,
    pub id: Vec<Source>,
}

#[derive(Debug)]
pub struct Record {
    /// Its number in the file, from 1, for people.
    pub number: usize,
    pub kind: RecordType,
    /// The list it is made for each element of; `None`: once per message.
    pub list: Option<usize>,
    /// Cases of the switch this record is for; `None`: all.
    pub cases: Option<Vec<u32>>,
    pub present: Vec<ValuePath>,
    pub absent: Vec<ValuePath>,
    pub equals: Vec<(ValuePath, Vec<Literal>)>,
    pub differs: Vec<(ValuePath, Vec<Literal>)>,
    pub contains: Vec<(ValuePath, Vec<Literal>)>,
    pub time: Time,
    /// The time is this record's own, not the file's.
    pub own_time: bool,
    pub members: Vec<(Member, Source)>,
    pub status: Option<Status>,
}

#[derive(Debug)]
pub struct Time {
    pub source: Source,
    pub form: time::Form,
    /// What is added to it, each times its ticks.
    pub add: Option<(Source, f64)>,
    /// The ticks between an element and the next one.
    pub step: Option<(Source, f64)>,
}

#[derive(Debug, Default)]
pub struct Source {
    /// The first that is there counts; with `join` all of them.
    pub places: Vec<ValuePath>,
    /// What stands between the values of all places.
    pub join: Option<String>,
    pub constant: Option<Literal>,
    pub default: Option<Literal>,
    pub cut: Option<Box<Cut>>,
    pub change: Change,
    /// The member takes numbers: a numeric text is passed on as one.
    pub number: bool,
    /// The member takes whole numbers: 12.0 is passed on as 12.
    pub whole: bool,
}

impl Source {
    /// Whether its value is taken as it is.
    pub fn is_plain(&self) -> bool {
        self.cut.is_none()
            && self.join.is_none()
            && self.constant.is_none()
            && self.default.is_none()
            && self.change.is_none()
    }

    /// Whether its value is the result of arithmetic.
    pub fn is_computed(&self) -> bool {
        self.change.line.is_some() || self.cut.as_ref().is_some_and(|cut| cut.units.is_some())
    }
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
    pub places: Vec<ValuePath>,
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
