//! Quantities and prices as people write them: `2 pcs`, `1.234,50 €`, `USD 1,234.50`, `1'234.50`.
//!
//! Pure. A mark before exactly three digits may divide thousands or decimals: such a text has two readings, and the [`Style`] of its
//! document chooses.

use std::fmt;

/// A number of up to four decimals, as ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

const UNIT: i64 = 10_000;
/// Digits before the decimal mark, at most.
const DIGITS: usize = 12;

impl Amount {
    /// The whole number it is, if it is one.
    #[must_use]
    pub fn whole(self) -> Option<u64> {
        (self.0 % UNIT == 0).then(|| u64::try_from(self.0 / UNIT).ok())?
    }

    /// Whether it is `count` times `each`, to the cent.
    #[must_use]
    pub fn is_product(self, count: u64, each: Self) -> bool {
        let product = i128::from(count) * i128::from(each.0);
        (product - i128::from(self.0)).abs() < i128::from(UNIT / 100)
    }

    /// Reads one that is written with a point and without thousands, as settings are.
    #[must_use]
    pub fn plain(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        digits(whole, decimals)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / UNIT, self.0 % UNIT);
        let decimals = format!("{rest:04}");
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{whole}.{decimals:0<2}")
    }
}

fn digits(whole: &str, decimals: &str) -> Option<Amount> {
    let fits = |text: &str, most: usize| {
        text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let decimals = decimals.trim_end_matches('0');
    if whole.is_empty() || !fits(whole, DIGITS) || !fits(decimals, 4) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let part: i64 = format!("{decimals:0<4}").parse().ok()?;
    Some(Amount(whole * UNIT + part))
}

/// Which mark divides decimals in a document, as far as its other numbers show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Unknown,
    Point,
    Comma,
}

/// A number as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The value if its mark divides decimals, or if it has none.
    decimal: Option<Amount>,
    /// The value if its only mark divides thousands.
    thousands: Option<Amount>,
    /// The mark of its decimals, if there is no doubt.
    style: Style,
    /// Whether it names a currency or has decimals: a price, not a count.
    pub money: bool,
    /// Whether it names a unit such as `pcs`: a count.
    pub counted: bool,
}

impl Written {
    /// The value in a document of a style. In doubt a mark divides thousands, unless only zeros follow it.
    #[must_use]
    pub fn amount(&self, style: Style) -> Option<Amount> {
        match (self.decimal, self.thousands) {
            (Some(decimal), Some(thousands)) => match style {
                Style::Unknown if decimal.whole().is_some() && self.counted => Some(decimal),
                Style::Unknown => Some(thousands),
                // Its only mark is the one that divides decimals elsewhere.
                style if style == self.style => Some(decimal),
                Style::Point | Style::Comma => Some(thousands),
            },
            (one, other) => one.or(other),
        }
    }

    /// Every reading.
    pub fn readings(&self) -> impl Iterator<Item = Amount> {
        self.decimal.into_iter().chain(self.thousands)
    }

    fn is_sure(&self) -> bool {
        self.decimal.is_none() || self.thousands.is_none()
    }
}

/// The style of a document with these numbers.
#[must_use]
pub fn style(numbers: impl Iterator<Item = Written>) -> Style {
    let (mut points, mut commas) = (0_u32, 0_u32);
    for number in numbers.filter(Written::is_sure) {
        match number.style {
            Style::Point => points += 1,
            Style::Comma => commas += 1,
            Style::Unknown => {}
        }
    }
    match points.cmp(&commas) {
        std::cmp::Ordering::Greater => Style::Point,
        std::cmp::Ordering::Less => Style::Comma,
        std::cmp::Ordering::Equal => Style::Unknown,
    }
}

/// Words for pieces, in lower case and without a point at their end.
const UNITS: [&str; 17] = [
    "pcs", "pc", "pce", "piece", "pieces", "ea", "each", "unit", "units", "x", "nos", "qty", "stk",
    "stck", "stück", "st", "devices",
];

/// Whether a word is one for pieces.
#[must_use]
pub fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches('.').to_lowercase();
    UNITS.contains(&word.as_str())
}

/// Reads a whole text as one number; nothing if it is anything else.
#[must_use]
pub fn read(text: &str) -> Option<Written> {
    let text = text.trim();
    if text.is_empty() || text.len() > 40 {
        return None;
    }
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (before, after) = (text[..start].trim(), text[end..].trim());
    let (mut money, mut counted) = (false, false);
    for word in [before, after] {
        if word.is_empty() {
            continue;
        }
        if is_unit(word.trim_end_matches(':')) || word == "×" {
            counted = true;
        } else if is_currency(word) {
            money = true;
        // A letter that did not fit its character set is nothing that a number depends on.
        } else if !matches!(word, ",-" | ".-" | ",–" | ".–" | "\u{fffd}") {
            return None;
        }
    }
    let number: String = text[start..end]
        .chars()
        .filter(|c| !matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’'))
        .collect();
    let spaced = number.chars().count() < text[start..end].chars().count();
    if spaced && !groups_of_three(&text[start..end]) {
        return None;
    }
    let mut written = marks(&number)?;
    written.money |= money;
    written.counted = counted;
    Some(written)
}

/// Currencies by their signs and codes.
const CURRENCIES: [&str; 34] = [
    "$", "€", "£", "¥", "US$", "CA$", "C$", "A$", "AU$", "NZ$", "R$", "Fr", "kr", "USD", "CAD",
    "EUR", "GBP", "AUD", "NZD", "MXN", "BRL", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF",
    "RON", "JPY", "ZAR", "AED", "INR", "SGD",
];

/// Whether a word names a currency.
#[must_use]
pub fn is_currency(word: &str) -> bool {
    CURRENCIES.contains(&word.trim_end_matches('.'))
}

/// Whether every space or apostrophe in a number has three digits behind it.
fn groups_of_three(text: &str) -> bool {
    let mut parts = text.split([' ', '\u{a0}', '\u{202f}', '\'', '’']).skip(1);
    parts.all(|part| {
        let digits = part.split([',', '.']).next().unwrap_or_default();
        digits.len() == 3
    })
}

fn marks(number: &str) -> Option<Written> {
    let plain = |whole: &str, decimals: &str, style: Style, money: bool| {
        Some(Written {
            decimal: Some(digits(whole, decimals)?),
            thousands: None,
            style,
            money,
            counted: false,
        })
    };
    let style_of = |mark: char| {
        if mark == ',' {
            Style::Comma
        } else {
            Style::Point
        }
    };
    let found: Vec<char> = number.chars().filter(|c| matches!(c, ',' | '.')).collect();
    let Some(last) = found.last().copied() else {
        return plain(number, "", Style::Unknown, false);
    };
    let (whole, tail) = number.rsplit_once(last)?;
    if found.iter().any(|mark| *mark != last) {
        // Two marks: the last one divides decimals.
        let other = if last == ',' { '.' } else { ',' };
        if whole.contains(last) || !grouped(whole, other) {
            return None;
        }
        return plain(&whole.replace(other, ""), tail, style_of(last), true);
    }
    if found.len() > 1 {
        // One mark several times divides thousands only.
        if tail.len() != 3 || !grouped(whole, last) {
            return None;
        }
        let other = if last == ',' {
            Style::Point
        } else {
            Style::Comma
        };
        return plain(&number.replace(last, ""), "", other, false);
    }
    if tail.len() != 3 || whole.len() > 3 || whole == "0" {
        return plain(whole, tail, style_of(last), true);
    }
    Some(Written {
        decimal: Some(digits(whole, tail)?),
        thousands: Some(digits(&number.replace(last, ""), "")?),
        style: style_of(last),
        money: false,
        counted: false,
    })
}

/// Whether a mark divides a number into thousands.
fn grouped(number: &str, mark: char) -> bool {
    let mut parts = number.split(mark);
    let first = parts.next().unwrap_or_default();
    (1..=3).contains(&first.len()) && parts.all(|part| part.len() == 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amount(text: &str, style: Style) -> Option<String> {
        Some(read(text)?.amount(style)?.to_string())
    }

    #[test]
    fn prices_are_read_as_they_are_written_anywhere() {
        for (text, wanted) in [
            ("89.50", "89.50"),
            ("89,5", "89.50"),
            ("1.234,50 €", "1234.50"),
            ("USD 1,234.50", "1234.50"),
            ("$1'234.50", "1234.50"),
            ("1 234,50 EUR", "1234.50"),
            ("1\u{a0}234\u{a0}567,8", "1234567.80"),
            ("12,-", "12.00"),
            ("1,234,567", "1234567.00"),
            ("0.125", "0.125"),
            ("79.0000", "79.00"),
            ("2", "2.00"),
        ] {
            assert_eq!(
                amount(text, Style::Unknown).as_deref(),
                Some(wanted),
                "{text}"
            );
        }
        for text in [
            "",
            "CTD-200",
            "2026-03-01",
            "12 34",
            "1.2.3",
            "4G",
            "10.5.0.1",
            "12345678901234567",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_count_may_have_a_unit_and_zeros() {
        for (text, wanted) in [
            ("2 pcs", 2),
            ("2x", 2),
            ("x 3", 3),
            ("10 Stk.", 10),
            ("4 EA", 4),
            ("2,00", 2),
            ("2.000 pcs", 2),
        ] {
            let whole = read(text).and_then(|written| written.amount(Style::Unknown)?.whole());
            assert_eq!(whole, Some(wanted), "{text}");
        }
    }

    #[test]
    fn a_mark_that_may_be_either_is_what_it_is_elsewhere_in_the_document() {
        let style = |texts: &[&str]| style(texts.iter().filter_map(|text| read(text)));
        assert_eq!(style(&["89,50", "2", "1.234"]), Style::Comma);
        assert_eq!(style(&["89.50", "1,234"]), Style::Point);
        assert_eq!(amount("1.234", Style::Comma).as_deref(), Some("1234.00"));
        assert_eq!(amount("1.234", Style::Point).as_deref(), Some("1.234"));
        assert_eq!(amount("1,234", Style::Point).as_deref(), Some("1234.00"));
    }

    #[test]
    fn a_product_is_compared_to_the_cent() {
        let amount = |text: &str| Amount::plain(text).unwrap();
        assert!(amount("179.00").is_product(2, amount("89.5")));
        assert!(!amount("180.00").is_product(2, amount("89.5")));
        assert_eq!(Amount::plain("89,5"), None);
        assert_eq!(Amount::plain(""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            if let Some(written) = read(&text) {
                for style in [Style::Unknown, Style::Comma, Style::Point] {
                    prop_assert!(written.amount(style).is_some());
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back(whole in 0_u64..1_000_000, cents in 0_u64..100) {
            let text = format!("{whole}.{cents:02}");
            let read = read(&text).and_then(|written| written.amount(Style::Unknown)).unwrap();
            prop_assert_eq!(read.to_string(), text);
        }
    }
}
