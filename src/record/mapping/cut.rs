//! A part of a value: an item of a list in a text, characters, what a pattern matches, bytes of a binary, bits of a number, a number
//! with its unit.
//!
//! The steps are taken in that order, before `map`, `factor` and `as`. Allocates nothing but what the matching of a pattern needs.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;

use super::value::{Scalar, numeric};

/// What is cut out of a value; see the module.
#[derive(Debug, Default)]
pub struct Cut {
    /// What parts the items of a list in a text, and which item; negative: counted from the end.
    pub split: Option<(String, i32)>,
    /// The pattern; its first group counts, or all that matches.
    pub pattern: Option<Regex>,
    /// The first and the last character, both included; negative: counted from the end.
    pub chars: Option<(i32, i32)>,
    pub binary: Option<Binary>,
    /// The lowest and the highest bit, both included.
    pub bits: Option<(u8, u8)>,
    /// A single bit, as a boolean.
    pub bit: Option<u8>,
    /// What stands before the fraction.
    pub decimal: Option<char>,
    /// By unit: what the number is multiplied with.
    pub units: Option<Vec<(String, f64)>>,
}

/// How a binary is written in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    Base64,
    Hex,
}

/// A number in a binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    pub coding: Coding,
    /// Its first byte.
    pub at: usize,
    pub read: Read,
}

/// How bytes are a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read {
    U8,
    I8,
    U16Be,
    U16Le,
    I16Be,
    I16Le,
    U24Be,
    U24Le,
    U32Be,
    U32Le,
    I32Be,
    I32Le,
    U64Be,
    U64Le,
    I64Be,
    I64Le,
    F32Be,
    F32Le,
    F64Be,
    F64Le,
}

impl Read {
    const fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16Be | Self::U16Le | Self::I16Be | Self::I16Le => 2,
            Self::U24Be | Self::U24Le => 3,
            Self::U32Be | Self::U32Le | Self::I32Be | Self::I32Le | Self::F32Be | Self::F32Le => 4,
            Self::U64Be | Self::U64Le | Self::I64Be | Self::I64Le | Self::F64Be | Self::F64Le => 8,
        }
    }

    const fn is_little(self) -> bool {
        matches!(
            self,
            Self::U16Le
                | Self::I16Le
                | Self::U24Le
                | Self::U32Le
                | Self::I32Le
                | Self::U64Le
                | Self::I64Le
                | Self::F32Le
                | Self::F64Le
        )
    }

    fn number(self, bytes: &[u8]) -> Scalar<'static> {
        let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let whole = if self.is_little() {
            bytes.iter().rev().fold(0, push)
        } else {
            bytes.iter().fold(0, push)
        };
        match self {
            Self::I8 => Scalar::Int(i64::from(whole as i8)),
            Self::I16Be | Self::I16Le => Scalar::Int(i64::from(whole as i16)),
            Self::I32Be | Self::I32Le => Scalar::Int(i64::from(whole as i32)),
            Self::I64Be | Self::I64Le => Scalar::Int(whole as i64),
            Self::F32Be | Self::F32Le => Scalar::Float(f64::from(f32::from_bits(whole as u32))),
            Self::F64Be | Self::F64Le => Scalar::Float(f64::from_bits(whole)),
            _ => i64::try_from(whole).map_or(Scalar::Unsigned(whole), Scalar::Int),
        }
    }
}

/// Why nothing can be cut out: what would have been right.
pub type Bound = String;

impl Cut {
    /// Applies it; `None` when what is cut out is empty: such a value is absent.
    ///
    /// # Errors
    /// What the value should have been.
    pub fn apply<'a>(&self, scalar: Scalar<'a>) -> Result<Option<Scalar<'a>>, Bound> {
        let mut scalar = scalar;
        if self.split.is_some() || self.pattern.is_some() || self.chars.is_some() {
            let Scalar::Text(text) = scalar else {
                return Err("a text".to_owned());
            };
            let Some(part) = self.text(text)? else {
                return Ok(None);
            };
            scalar = Scalar::Text(part);
        }
        if let Some(binary) = self.binary {
            let Scalar::Text(text) = scalar else {
                return Err("a text".to_owned());
            };
            scalar = binary.number(text)?;
        }
        if self.decimal.is_some() || self.units.is_some() {
            scalar = Scalar::Float(self.measured(scalar)?);
        }
        if self.bits.is_some() || self.bit.is_some() {
            let number = bit_pattern(scalar).ok_or("a whole number")?;
            if let Some((low, high)) = self.bits {
                let width = u32::from(high - low) + 1;
                let mask = u64::MAX >> (64 - width);
                scalar = Scalar::Int((number >> low & mask) as i64);
            }
            if let Some(bit) = self.bit {
                scalar = Scalar::Bool(number >> bit & 1 == 1);
            }
        }
        Ok(Some(scalar))
    }

    fn text<'a>(&self, text: &'a str) -> Result<Option<&'a str>, Bound> {
        let mut text = text;
        if let Some((separator, item)) = &self.split {
            let found = if *item < 0 {
                text.rsplit(separator.as_str())
                    .nth(item.unsigned_abs() as usize - 1)
            } else {
                text.split(separator.as_str()).nth(*item as usize)
            };
            text = found
                .ok_or_else(|| format!("a text with an item {item} between \"{separator}\""))?;
        }
        if let Some(pattern) = &self.pattern {
            let group = usize::from(pattern.captures_len() > 1);
            let found = if group == 0 {
                pattern.find(text)
            } else {
                pattern.captures(text).and_then(|found| found.get(group))
            };
            text = found
                .map(|found| found.as_str())
                .ok_or_else(|| format!("a text that matches {pattern}"))?;
        }
        if let Some((first, last)) = self.chars {
            let len = text.chars().count() as i64;
            let place = |at: i32| i64::from(at) + if at < 0 { len } else { 0 };
            let (first, last) = (place(first), place(last));
            if first < 0 || last >= len || first > last {
                return Err(format!("a text with characters {first} to {last}"));
            }
            let byte = |at: i64| {
                text.char_indices()
                    .nth(at as usize)
                    .map_or(text.len(), |(at, _)| at)
            };
            text = &text[byte(first)..byte(last + 1)];
        }
        let text = text.trim();
        Ok((!text.is_empty()).then_some(text))
    }

    /// A number as people write it: with a comma, with its unit.
    fn measured(&self, scalar: Scalar<'_>) -> Result<f64, Bound> {
        let Scalar::Text(text) = scalar else {
            return scalar.number().ok_or_else(|| "a number".to_owned());
        };
        let text = text.trim();
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | ',')))
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let factor = match &self.units {
            None if unit.is_empty() => 1.0,
            None => return Err("a number without a unit".to_owned()),
            Some(units) => {
                let unit = unit.trim();
                let known = units.iter().find(|(known, _)| known == unit);
                let (_, factor) = known.ok_or_else(|| {
                    let names: Vec<_> = units.iter().map(|(unit, _)| unit.as_str()).collect();
                    format!("a number in {}", names.join(" or "))
                })?;
                *factor
            }
        };
        let mut plain = [0; 40];
        let decimal = self.decimal.unwrap_or('.');
        let mut len = 0;
        for c in digits.chars() {
            let byte = match c {
                _ if c == decimal => b'.',
                // The other mark would part thousands, which is never guessed.
                '.' | ',' => {
                    return Err(format!("a number with \"{decimal}\" before its fraction"));
                }
                c => c as u8,
            };
            *plain.get_mut(len).ok_or("a number")? = byte;
            len += 1;
        }
        let plain = std::str::from_utf8(&plain[..len]).unwrap_or_default();
        let number = numeric(plain).and_then(Scalar::number);
        Ok(number.ok_or("a number")? * factor)
    }
}

/// The bits of a whole number, a numeric or (with `0x`) hexadecimal text's included; of a negative one its two's complement.
fn bit_pattern(scalar: Scalar<'_>) -> Option<u64> {
    if let Scalar::Text(text) = scalar
        && let Some(digits) = text
            .trim()
            .strip_prefix("0x")
            .or(text.trim().strip_prefix("0X"))
    {
        return u64::from_str_radix(digits, 16).ok();
    }
    match scalar.numbered() {
        Scalar::Int(number) => Some(number as u64),
        Scalar::Unsigned(number) => Some(number),
        Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(number as i64 as u64)
        }
        Scalar::Bool(flag) => Some(u64::from(flag)),
        Scalar::Float(_) | Scalar::Text(_) => None,
    }
}

impl Binary {
    fn number(self, text: &str) -> Result<Scalar<'static>, Bound> {
        let text = text.trim().as_bytes();
        let width = self.read.width();
        let mut bytes = [0; 12];
        let at = match self.coding {
            Coding::Hex => {
                let digits = text.get(self.at * 2..(self.at + width) * 2);
                let digits = digits.ok_or_else(|| self.bound())?;
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let digit = |at: usize| {
                        char::from(pair[at])
                            .to_digit(16)
                            .ok_or("hexadecimal digits")
                    };
                    *byte = (digit(0)? * 16 + digit(1)?) as u8;
                }
                0
            }
            Coding::Base64 => {
                // Three bytes are four characters: only the groups that hold the number are decoded.
                let (first, last) = (self.at / 3, (self.at + width - 1) / 3);
                let groups = text.get(first * 4..).ok_or_else(|| self.bound())?;
                let groups = &groups[..groups.len().min((last - first + 1) * 4)];
                let decoded = lenient(groups, &mut bytes).ok_or("Base64")?;
                let from = self.at - first * 3;
                if from + width > decoded {
                    return Err(self.bound());
                }
                from
            }
        };
        Ok(self.read.number(&bytes[at..at + width]))
    }

    fn bound(&self) -> Bound {
        format!("a binary of at least {} bytes", self.at + self.read.width())
    }
}

/// Decodes Base64 of either alphabet, padded or not; gives the number of bytes.
fn lenient(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    static URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    engine.decode_slice(text, bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cut: Cut, scalar: Scalar<'_>) -> Result<Option<Scalar<'_>>, Bound> {
        cut.apply(scalar)
    }

    #[test]
    fn texts_are_cut() {
        use Scalar::{Float, Int, Text};
        let split = |separator: &str, item| Cut {
            split: Some((separator.to_owned(), item)),
            ..Cut::default()
        };
        let chars = |first, last| Cut {
            chars: Some((first, last)),
            ..Cut::default()
        };
        let pattern = |pattern: &str| Cut {
            pattern: Some(Regex::new(pattern).unwrap()),
            ..Cut::default()
        };
        let measure = |decimal, units: &[(&str, f64)]| Cut {
            decimal,
            units: (!units.is_empty()).then(|| {
                units
                    .iter()
                    .map(|(unit, by)| ((*unit).to_owned(), *by))
                    .collect()
            }),
            ..Cut::default()
        };
        for (rule, value, wanted) in [
            (split(",", 1), Text("52.1, 4.3 ,61"), Some(Text("4.3"))),
            (split(",", -1), Text("52.1,4.3,61"), Some(Text("61"))),
            (split(",", 1), Text("52.1,,61"), None),
            (chars(2, 3), Text("é10ß"), Some(Text("0ß"))),
            (chars(-1, -1), Text("0110"), Some(Text("0"))),
            (pattern("[0-9.]+"), Text("3.5 m/s"), Some(Text("3.5"))),
            (
                pattern("RPM=([0-9]+)"),
                Text("V=1;RPM=900"),
                Some(Text("900")),
            ),
            (measure(Some(','), &[]), Text("12,5"), Some(Float(12.5))),
            (
                measure(None, &[("m/s", 3.6), ("km/h", 1.0)]),
                Text("10 m/s"),
                Some(Float(36.0)),
            ),
            (
                measure(None, &[("m/s", 3.6), ("km/h", 1.0)]),
                Text("-10.5km/h"),
                Some(Float(-10.5)),
            ),
            (measure(Some(','), &[]), Int(7), Some(Float(7.0))),
        ] {
            assert_eq!(cut(rule, value), Ok(wanted), "{value:?}");
        }
        for (rule, value, bound) in [
            (split(",", 3), Text("1,2"), "item 3"),
            (split(",", 0), Int(7), "a text"),
            (chars(2, 9), Text("abc"), "characters 2 to 9"),
            (pattern("[0-9]"), Text("n/a"), "matches"),
            (
                measure(Some(','), &[]),
                Text("1.234,5"),
                "before its fraction",
            ),
            (
                measure(None, &[("m/s", 3.6)]),
                Text("10 kn"),
                "a number in m/s",
            ),
            (measure(Some('.'), &[]), Text("n/a"), "without a unit"),
            (measure(None, &[("V", 1.0)]), Text("--- V"), "a number"),
        ] {
            let refused = cut(rule, value).unwrap_err();
            assert!(refused.contains(bound), "{value:?}: {refused}");
        }
    }

    #[test]
    fn bits_and_binaries_are_numbers() {
        use Scalar::{Bool, Float, Int, Text, Unsigned};
        let bit = |bit| Cut {
            bit: Some(bit),
            ..Cut::default()
        };
        let bits = |low, high| Cut {
            bits: Some((low, high)),
            ..Cut::default()
        };
        let binary = |coding, at, read| Cut {
            binary: Some(Binary { coding, at, read }),
            ..Cut::default()
        };
        use Coding::{Base64, Hex};
        for (rule, value, wanted) in [
            (bit(3), Int(8), Bool(true)),
            (bit(0), Text("0x0E"), Bool(false)),
            (bit(63), Int(-1), Bool(true)),
            (bit(63), Unsigned(1 << 63), Bool(true)),
            (bits(4, 7), Text("163"), Int(10)),
            (bits(0, 63), Int(5), Int(5)),
            (bit(1), Float(6.0), Bool(true)),
            // 01 02 03 04 05 06 ff fe
            (
                binary(Hex, 1, Read::U16Be),
                Text("010203040506fffe"),
                Int(0x0203),
            ),
            (
                binary(Base64, 1, Read::U16Le),
                Text("AQIDBAUG//4="),
                Int(0x0302),
            ),
            (
                binary(Base64, 4, Read::U24Be),
                Text("AQIDBAUG__4"),
                Int(0x0506ff),
            ),
            (
                binary(Base64, 6, Read::I16Be),
                Text("AQIDBAUG//4="),
                Int(-2),
            ),
            (
                binary(Base64, 0, Read::I64Be),
                Text("//////////8="),
                Int(-1),
            ),
            (
                binary(Base64, 0, Read::U64Be),
                Text("//////////8="),
                Unsigned(u64::MAX),
            ),
            (binary(Hex, 0, Read::F32Be), Text("41480000"), Float(12.5)),
            (
                binary(Hex, 0, Read::F64Le),
                Text("0000000000002940"),
                Float(12.5),
            ),
        ] {
            assert_eq!(cut(rule, value), Ok(Some(wanted)), "{value:?}");
        }
        for (rule, value, bound) in [
            (bit(0), Float(1.5), "whole"),
            (bit(0), Text("x"), "whole"),
            (
                binary(Hex, 7, Read::U16Be),
                Text("010203040506fffe"),
                "9 bytes",
            ),
            (binary(Hex, 0, Read::U8), Text("zz"), "hexadecimal"),
            (
                binary(Base64, 7, Read::U16Be),
                Text("AQIDBAUG//4="),
                "9 bytes",
            ),
            (binary(Base64, 0, Read::U8), Text("é!?*"), "Base64"),
        ] {
            let refused = cut(rule, value).unwrap_err();
            assert!(refused.contains(bound), "{value:?}: {refused}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,20}", at in 0usize..12, item in -3i32..3) {
            for coding in [Coding::Base64, Coding::Hex] {
                let binary = Some(Binary { coding, at, read: Read::U64Be });
                let _ = cut(Cut { binary, ..Cut::default() }, Scalar::Text(&text));
            }
            let chars = Some((item, item + 2));
            let _ = cut(Cut { chars, bit: Some(1), ..Cut::default() }, Scalar::Text(&text));
            let units = Some(vec![("m".to_owned(), 2.0)]);
            let _ = cut(Cut { units, split: Some((",".to_owned(), 1)), ..Cut::default() }, Scalar::Text(&text));
        }
    }
}
