//! JSON tokens over a byte slice, for [`super::scan`]: strings as places, numbers as far as rules need them.
//!
//! Strict JSON in every place it looks at; the body is known to be UTF-8 and to hold no needless escapes.

use super::scan::Refusal;

/// A place in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextRange {
    pub start: u32,
    pub end: u32,
}

impl TextRange {
    #[inline]
    #[must_use]
    pub fn of(self, body: &[u8]) -> &[u8] {
        &body[self.start as usize..self.end as usize]
    }
}

/// A member's value, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    Text(TextRange),
    Integer(i64),
    /// An integer beyond 64 bits.
    Huge,
    Number(f64),
    Other,
}

#[derive(Debug, Clone, Copy)]
pub enum Class {
    Text,
    Integer,
    Number,
    Flag,
    Null,
}

pub enum Bad {
    Nested,
    Malformed(&'static str),
    Refused(Refusal),
}

pub struct Cursor<'a> {
    pub body: &'a [u8],
    pub at: usize,
    /// The body has been through `escapes::reduce`.
    pub reduced: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

impl Cursor<'_> {
    pub fn bad(&self, reason: &'static str) -> Refusal {
        Refusal::Malformed {
            at: self.at,
            reason,
        }
    }

    /// The next byte; 0, which is never legal here, at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.body.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    pub fn end(&mut self) -> Result<(), Refusal> {
        self.space();
        if self.at == self.body.len() {
            Ok(())
        } else {
            Err(self.bad("more after the array"))
        }
    }

    /// A string's contents; the cursor stands on its opening quote and ends behind its closing one.
    #[inline]
    pub fn text(&mut self) -> Result<TextRange, Refusal> {
        self.at += 1;
        let start = self.at;
        loop {
            // Eight bytes at a time: stop at a quote, a backslash or a control character.
            while let Some(chunk) = self.body[self.at.min(self.body.len())..].first_chunk::<8>() {
                let word = u64::from_le_bytes(*chunk);
                let quote = word ^ (ONES * b'"' as u64);
                let slash = word ^ (ONES * b'\\' as u64);
                let hit = (quote.wrapping_sub(ONES) & !quote)
                    | (slash.wrapping_sub(ONES) & !slash)
                    | (word.wrapping_sub(ONES * 0x20) & !word);
                let hit = hit & HIGH;
                if hit != 0 {
                    self.at += hit.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.peek() {
                b'"' => {
                    let place = TextRange {
                        start: start as u32,
                        end: self.at as u32,
                    };
                    self.at += 1;
                    return Ok(place);
                }
                b'\\' => {
                    match self.body.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') if self.reduced => {}
                        Some(b'u' | b'/') if !self.reduced => return Err(Refusal::Escaped),
                        _ => return Err(self.bad("not an escape")),
                    }
                    self.at += 2;
                }
                0..0x20 => return Err(self.bad("a control character or the end within a string")),
                _ => self.at += 1,
            }
        }
    }

    #[inline]
    pub fn value(&mut self) -> Result<(Value, Class), Bad> {
        match self.peek() {
            b'"' => match self.text() {
                Ok(place) => Ok((Value::Text(place), Class::Text)),
                Err(refusal) => Err(Bad::Refused(refusal)),
            },
            b't' => self.word(b"true", Class::Flag),
            b'f' => self.word(b"false", Class::Flag),
            b'n' => self.word(b"null", Class::Null),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' => Err(Bad::Nested),
            _ => Err(Bad::Malformed("expected a value")),
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8], class: Class) -> Result<(Value, Class), Bad> {
        if self.body[self.at..].starts_with(word) {
            self.at += word.len();
            Ok((Value::Other, class))
        } else {
            Err(Bad::Malformed("expected a value"))
        }
    }

    #[inline]
    fn number(&mut self) -> Result<(Value, Class), Bad> {
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let start = self.at;
        let mut whole = 0u64;
        let mut exact = true;
        let mut digits = |cursor: &mut Self| {
            let from = cursor.at;
            loop {
                let digit = cursor.peek().wrapping_sub(b'0');
                if digit > 9 {
                    return cursor.at - from;
                }
                match whole
                    .checked_mul(10)
                    .and_then(|whole| whole.checked_add(u64::from(digit)))
                {
                    Some(next) => whole = next,
                    None => exact = false,
                }
                cursor.at += 1;
            }
        };
        let leading = digits(self);
        if leading == 0 || (leading > 1 && self.body[start] == b'0') {
            return Err(Bad::Malformed("not a number"));
        }
        let mut scale = 0i32;
        let mut integer = true;
        if self.peek() == b'.' {
            self.at += 1;
            integer = false;
            let places = digits(self);
            if places == 0 {
                return Err(Bad::Malformed("not a number"));
            }
            scale = -(places as i32);
        }
        if self.peek() | 0x20 == b'e' {
            integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            let from = self.at;
            while self.peek().is_ascii_digit() {
                self.at += 1;
            }
            if self.at == from {
                return Err(Bad::Malformed("not a number"));
            }
            exact = false;
        }
        if integer {
            if !exact || (negative && whole > i64::MAX as u64 + 1) {
                return Ok((Value::Huge, Class::Integer));
            }
            // Beyond 63 bits it is out of any range that an integer has.
            let size = i64::try_from(whole).unwrap_or(i64::MAX);
            return Ok((
                Value::Integer(if negative { -size } else { size }),
                Class::Integer,
            ));
        }
        let size = match POWERS.get(scale.unsigned_abs() as usize) {
            Some(power) if exact => whole as f64 / power,
            _ => {
                let text = std::str::from_utf8(&self.body[start..self.at]).unwrap_or("");
                text.parse().unwrap_or(f64::INFINITY)
            }
        };
        Ok((
            Value::Number(if negative { -size } else { size }),
            Class::Number,
        ))
    }
}

static POWERS: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
];
