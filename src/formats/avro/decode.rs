//! Bytes of one Avro message into JSON, by a [`Plan`].
//!
//! A union's value is written as it is, without the name of its branch. M1: every item costs a step, also one without bytes.

use std::io::Write as _;

use super::plan::{Plan, Step};
use crate::formats::fault::{Checked, Fault};
use crate::formats::json::{Json, integer, name_of};
use crate::formats::wire::{unzigzag, varint};

impl Plan {
    /// Writes the message as JSON.
    pub(in crate::formats) fn decode(&self, message: &[u8], json: &mut Json<'_>) -> Checked {
        let mut reading = Reading {
            steps: &self.steps,
            bytes: message,
            at: 0,
            json,
        };
        reading.value(self.root, 0)?;
        if reading.at < message.len() {
            let left = message.len() - reading.at;
            return Err(Fault::payload(
                format!("{left} bytes follow the end of the message"),
                "a message that ends where its schema ends",
            ));
        }
        Ok(())
    }
}

struct Reading<'a, 'j, 't> {
    steps: &'a [Step],
    bytes: &'a [u8],
    at: usize,
    json: &'j mut Json<'t>,
}

impl<'a> Reading<'a, '_, '_> {
    #[cold]
    fn early(&self) -> Box<Fault> {
        Fault::payload(
            format!(
                "the message ends early, or a number of it is none, at byte {}",
                self.at
            ),
            "a message of this schema",
        )
    }

    #[inline]
    fn long(&mut self) -> Checked<i64> {
        match varint(self.bytes, &mut self.at) {
            Some(value) => Ok(unzigzag(value)),
            None => Err(self.early()),
        }
    }

    fn int(&mut self) -> Checked<i32> {
        let value = self.long()?;
        i32::try_from(value)
            .map_err(|_| Fault::payload(value.to_string(), "a whole number of 32 bits"))
    }

    #[inline]
    fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        match self.bytes[self.at..].get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.early()),
        }
    }

    fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    #[inline]
    fn counted(&mut self) -> Checked<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(Fault::payload(length.to_string(), "a length of 0 or more")),
        }
    }

    /// The items of the next block, or 0 at the end; and the block's bytes where it names them.
    fn block(&mut self) -> Checked<(u64, Option<usize>)> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count as u64, None));
        }
        let length = self.long()?;
        let length = usize::try_from(length)
            .map_err(|_| Fault::payload(length.to_string(), "a length of 0 or more"))?;
        Ok((count.unsigned_abs(), Some(length)))
    }

    fn value(&mut self, id: usize, depth: usize) -> Checked {
        self.json.step()?;
        let steps = self.steps;
        match &steps[id] {
            Step::Null => self.json.null(),
            Step::Boolean => match self.take(1)? {
                [0] => self.json.boolean(false),
                [1] => self.json.boolean(true),
                other => return Err(Fault::payload(format!("{other:?}"), "a boolean, 0 or 1")),
            },
            Step::Int => {
                let value = self.int()?;
                self.json.int(i64::from(value));
            }
            Step::Long => {
                let value = self.long()?;
                self.json.int(value);
            }
            Step::Float => {
                let bytes = self.array()?;
                self.json.float(f32::from_le_bytes(bytes));
            }
            Step::Double => {
                let bytes = self.array()?;
                self.json.double(f64::from_le_bytes(bytes));
            }
            Step::Text => {
                let text = self.counted()?;
                self.json.text(text)?;
            }
            step @ (Step::Bytes | Step::Decimal(_, None)) => {
                let bytes = self.counted()?;
                leaf_bytes(self.json, step, bytes)?;
            }
            step @ (Step::Fixed(size) | Step::Decimal(_, Some(size))) => {
                let bytes = self.take(*size)?;
                leaf_bytes(self.json, step, bytes)?;
            }
            step @ Step::Uuid => {
                let bytes = self.take(16)?;
                leaf_bytes(self.json, step, bytes)?;
            }
            step @ Step::Duration => {
                let bytes = self.take(12)?;
                leaf_bytes(self.json, step, bytes)?;
            }
            Step::Date => {
                let days = self.int()?;
                self.json.date(days);
            }
            Step::TimeOfDay(unit) => {
                let value = self.long()?;
                self.json.time_of_day(value, *unit);
            }
            Step::Instant(unit) => {
                let value = self.long()?;
                self.json.instant(value, *unit);
            }
            Step::Local(unit) => {
                let value = self.long()?;
                self.json.local(value, *unit);
            }
            Step::Enum(symbols) => {
                let number = self.long()?;
                let symbol = usize::try_from(number).ok().and_then(|at| symbols.get(at));
                match symbol {
                    Some(Some(symbol)) => self.json.raw(symbol)?,
                    Some(None) => {
                        return Err(Fault::payload(
                            format!("symbol number {number}"),
                            "a symbol that the reader schema has",
                        ));
                    }
                    None => {
                        let count = symbols.len();
                        return Err(Fault::payload(
                            format!("symbol number {number}"),
                            format!("one of the {count} symbols"),
                        ));
                    }
                }
            }
            Step::Union(branches) => {
                let branch = self.branch(branches)?;
                // The branch is the value itself: no level is added.
                return self.value(branch, depth);
            }
            Step::Array(items) => {
                self.json.enter(depth)?;
                self.items(*items, depth)?;
            }
            Step::Map(values) => {
                self.json.enter(depth)?;
                self.entries(*values, depth)?;
            }
            Step::Record(members, defaults) => {
                self.json.enter(depth)?;
                self.json.mark(b'{');
                let mut first = true;
                for member in members {
                    let Some(key) = &member.key else {
                        self.skip(member.step, depth + 1)?;
                        continue;
                    };
                    if !std::mem::take(&mut first) {
                        self.json.mark(b',');
                    }
                    self.json.raw(key)?;
                    if let Err(fault) = self.value(member.step, depth + 1) {
                        return Err(fault.of_member(name_of(key)));
                    }
                }
                if let Some((_, defaults)) = defaults.split_last() {
                    if !first {
                        self.json.mark(b',');
                    }
                    self.json.raw(defaults)?;
                }
                self.json.mark(b'}');
            }
            Step::Unreadable(why) => {
                return Err(Fault::payload(
                    why.to_string(),
                    "a value that the reader schema reads",
                ));
            }
        }
        Ok(())
    }

    fn branch(&mut self, branches: &[usize]) -> Checked<usize> {
        let number = self.long()?;
        let branch = usize::try_from(number)
            .ok()
            .and_then(|number| branches.get(number));
        branch.copied().ok_or_else(|| {
            let count = branches.len();
            Fault::payload(
                format!("branch {number} of a union"),
                format!("one of its {count} branches"),
            )
        })
    }

    fn items(&mut self, items: usize, depth: usize) -> Checked {
        self.json.mark(b'[');
        let mut index = 0;
        loop {
            let (count, _) = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if index > 0 {
                    self.json.mark(b',');
                }
                if let Err(fault) = self.value(items, depth + 1) {
                    return Err(fault.of_element(index));
                }
                index += 1;
            }
        }
        self.json.mark(b']');
        Ok(())
    }

    fn entries(&mut self, values: usize, depth: usize) -> Checked {
        self.json.mark(b'{');
        let mut first = true;
        loop {
            let (count, _) = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    self.json.mark(b',');
                }
                let name = self.counted()?;
                self.json.text(name)?;
                self.json.mark(b':');
                if let Err(fault) = self.value(values, depth + 1) {
                    return Err(fault.of_member(&String::from_utf8_lossy(name)));
                }
            }
        }
        self.json.mark(b'}');
        Ok(())
    }

    /// Reads a value that nobody wants.
    fn skip(&mut self, id: usize, depth: usize) -> Checked {
        self.json.step()?;
        let steps = self.steps;
        match &steps[id] {
            Step::Null => {}
            Step::Boolean => {
                self.take(1)?;
            }
            Step::Int
            | Step::Long
            | Step::Date
            | Step::TimeOfDay(_)
            | Step::Instant(_)
            | Step::Local(_)
            | Step::Enum(_) => {
                self.long()?;
            }
            Step::Float => {
                self.take(4)?;
            }
            Step::Double => {
                self.take(8)?;
            }
            Step::Bytes | Step::Text | Step::Decimal(_, None) => {
                self.counted()?;
            }
            Step::Fixed(size) | Step::Decimal(_, Some(size)) => {
                self.take(*size)?;
            }
            Step::Uuid => {
                self.take(16)?;
            }
            Step::Duration => {
                self.take(12)?;
            }
            Step::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.skip(branch, depth);
            }
            Step::Array(items) => {
                self.json.enter(depth)?;
                self.skip_blocks(*items, false, depth)?;
            }
            Step::Map(values) => {
                self.json.enter(depth)?;
                self.skip_blocks(*values, true, depth)?;
            }
            Step::Record(members, _) => {
                self.json.enter(depth)?;
                for member in members {
                    self.skip(member.step, depth + 1)?;
                }
            }
            // Only a reader makes one, and what a reader sees is not skipped.
            Step::Unreadable(why) => {
                return Err(Fault::payload(why.to_string(), "a value of the schema"));
            }
        }
        Ok(())
    }

    fn skip_blocks(&mut self, inner: usize, named: bool, depth: usize) -> Checked {
        loop {
            let (count, length) = self.block()?;
            if count == 0 {
                return Ok(());
            }
            if let Some(length) = length {
                self.take(length)?;
                continue;
            }
            for _ in 0..count {
                if named {
                    self.counted()?;
                }
                self.skip(inner, depth + 1)?;
            }
        }
    }
}

/// Writes a value that lies in the message as bytes.
pub(super) fn leaf_bytes(json: &mut Json<'_>, step: &Step, bytes: &[u8]) -> Checked {
    match step {
        Step::Decimal(scale, _) => match integer(bytes) {
            Some(unscaled) => json.decimal(unscaled, *scale),
            None => json.bytes(bytes)?,
        },
        Step::Uuid => match uuid::Uuid::from_slice(bytes) {
            Ok(id) => json.string(&id.to_string())?,
            Err(_) => json.bytes(bytes)?,
        },
        Step::Duration => {
            let part = |at: usize| match bytes.get(at..at + 4) {
                Some(part) => u32::from_le_bytes([part[0], part[1], part[2], part[3]]),
                None => 0,
            };
            let (months, days, millis) = (part(0), part(4), part(8));
            let mut text = Vec::new();
            let (seconds, millis) = (millis / 1000, millis % 1000);
            // Writing into a vector cannot fail.
            let _ = write!(text, "P{months}M{days}DT{seconds}.{millis:03}S");
            json.text(&text)?;
        }
        _ => json.bytes(bytes)?,
    }
    Ok(())
}
