//! The items of a letter: which products it names, how many, and at what price.
//!
//! Pure. Layouts are not known beforehand: a row of titles says which column is what, by the settings' patterns. In a row without
//! titles a product code that is known is an item if a count stands beside it; a count and a price that multiply to a total are
//! sure. What cannot be understood of an item is told, never guessed.

use std::collections::BTreeMap;

use super::amount::{self, Amount, Style, Written};
use super::patterns::{Kind, Patterns};
use super::text::{Text, cells};

/// Items of one letter, at most.
pub const ITEMS: usize = 200;
/// Rows of one text that are told of, at most.
const SAID: usize = 20;

/// An item of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As product codes are written in MyAdmin.
    pub code: String,
    pub quantity: u64,
    pub price: Option<Amount>,
    /// Where it stands, for people.
    pub place: String,
}

/// The items of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub items: Vec<Item>,
    /// Rows that are not understood.
    pub odd: Vec<String>,
    /// Totals that are not the count times the price.
    pub wrong_sums: Vec<String>,
}

/// Products that are known, by their codes in upper case.
pub type Products = BTreeMap<String, String>;

/// The columns of a table by their titles.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    width: usize,
    code: usize,
    quantity: usize,
    price: Option<usize>,
    total: Option<usize>,
}

impl Columns {
    /// Nothing if a row is none of titles.
    fn of(row: &[&str], kind: Kind, patterns: &Patterns) -> Option<Self> {
        let titles = || row.iter().enumerate();
        let first =
            |is: &dyn Fn(&str) -> bool| titles().find(|(_, title)| is(title)).map(|(at, _)| at);
        let code = first(&|title| patterns.item_title.is_match(title))?;
        let counts = |title: &str| patterns.quantity_title.is_match(title);
        let ships = |title: &str| title.to_ascii_lowercase().contains("ship");
        // A packing slip tells what is in the shipment, a purchase order what was ordered.
        let quantity = first(&|title| counts(title) && ships(title) == (kind == Kind::PackingSlip));
        let quantity = quantity.or_else(|| first(&counts))?;
        let total = first(&|title| patterns.total_title.is_match(title));
        let price =
            titles().find(|(at, title)| patterns.price_title.is_match(title) && Some(*at) != total);
        Some(Self {
            width: row.len(),
            code,
            quantity,
            price: price.map(|(at, _)| at),
            total,
        })
    }
}

/// Numbers of a row.
#[derive(Debug, Default)]
struct Numbers {
    quantity: Option<u64>,
    price: Option<Amount>,
    total: Option<Amount>,
}

/// Looks for the items of a text.
#[must_use]
pub fn read(text: &Text, kind: Kind, patterns: &Patterns, products: &Products) -> Found {
    let mut found = Found::default();
    let style = style_of(text);
    let mut columns: Option<Columns> = None;
    for (at, line) in text.lines.lines().enumerate() {
        let row = cells(line);
        if let Some(titles) = Columns::of(&row, kind, patterns) {
            columns = Some(titles);
            continue;
        }
        if patterns
            .table_end
            .is_match(line.trim_start_matches(['|', ' ', '\t']))
        {
            columns = None;
            continue;
        }
        let place = || format!("{}, line {}", text.place, at + 1);
        let table = columns
            .as_ref()
            .filter(|columns| columns.width == row.len());
        let (code, numbers) =
            match table.and_then(|columns| tabular(&row, columns, style, patterns, products)) {
                Some(item) => item,
                None => match loose(&row, style, columns.is_some(), patterns, products) {
                    Some(item) => item,
                    None => continue,
                },
            };
        if patterns.no_item.is_match(&code) {
            continue;
        }
        if found.items.len() >= ITEMS {
            found
                .odd
                .push(format!("{}: more than {ITEMS} items are not read", place()));
            break;
        }
        let Some(quantity) = numbers.quantity else {
            found.odd.push(format!(
                "{}: no quantity of {code} is understood in {:?}",
                place(),
                short(line)
            ));
            continue;
        };
        if let (Some(price), Some(total)) = (numbers.price, numbers.total)
            && !total.is_product(quantity, price)
        {
            found.wrong_sums.push(format!(
                "{}: {quantity} x {price} of {code} is not {total}",
                place()
            ));
        }
        found.items.push(Item {
            code,
            quantity,
            price: numbers.price,
            place: place(),
        });
    }
    found.odd.truncate(SAID);
    found.wrong_sums.truncate(SAID);
    found
}

fn style_of(text: &Text) -> Style {
    let cells = text.lines.lines().flat_map(|line| {
        let row = cells(line);
        let words = row.len() == 1;
        let row: Vec<&str> = if words {
            line.split_whitespace().collect()
        } else {
            row
        };
        row.into_iter().filter_map(amount::read).collect::<Vec<_>>()
    });
    amount::style(cells)
}

fn short(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(100).collect()
}

/// A known product's code as MyAdmin writes it.
fn known<'p>(word: &str, products: &'p Products) -> Option<&'p str> {
    let word = word.trim_matches(|c: char| matches!(c, ',' | ';' | ':' | '(' | ')' | '"'));
    products.get(&word.to_uppercase()).map(String::as_str)
}

/// The code in the column of codes: its first word, if that looks like a code.
fn code_in(cell: &str, patterns: &Patterns, products: &Products) -> Option<String> {
    let word = cell.split_whitespace().next()?;
    let known = known(cell, products).or_else(|| known(word, products));
    known.map(str::to_owned).or_else(|| {
        let looks = word.len() <= 40 && patterns.item_code.is_match(word);
        looks.then(|| word.to_uppercase())
    })
}

fn tabular(
    row: &[&str],
    columns: &Columns,
    style: Style,
    patterns: &Patterns,
    products: &Products,
) -> Option<(String, Numbers)> {
    let code = code_in(row[columns.code], patterns, products)?;
    let amount = |column: usize| amount::read(row[column])?.amount(style);
    let price = columns.price.and_then(amount);
    let total = columns.total.and_then(amount);
    let written = amount::read(row[columns.quantity]);
    let quantity = written.and_then(|written| count(&written, style, price, total));
    let empty = row[columns.quantity].is_empty() && price.is_none() && total.is_none();
    if empty && !products.contains_key(&code.to_uppercase()) {
        return None;
    }
    Some((
        code,
        Numbers {
            quantity,
            price,
            total,
        },
    ))
}

/// A count; where a mark leaves two readings, the one that fits price and total.
fn count(
    written: &Written,
    style: Style,
    price: Option<Amount>,
    total: Option<Amount>,
) -> Option<u64> {
    if let (Some(price), Some(total)) = (price, total) {
        let mut fitting = written.readings().filter_map(Amount::whole);
        if let Some(count) = fitting.find(|count| total.is_product(*count, price)) {
            return Some(count);
        }
    }
    written.amount(style)?.whole()
}

/// A row without titles, or with other cells than its table's titles.
fn loose(
    row: &[&str],
    style: Style,
    in_table: bool,
    patterns: &Patterns,
    products: &Products,
) -> Option<(String, Numbers)> {
    // Words of a single cell, or cells.
    let words: Vec<&str> = match row {
        [line] => line.split_whitespace().collect(),
        cells => cells.to_vec(),
    };
    let code_at = |word: &&str| known(word, products).map(str::to_owned);
    let place = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| Some((at, code_at(word)?)));
    let place = place.or_else(|| {
        // An unknown code only where a table stands, at its beginning.
        let mut first = words.iter().enumerate().take(2).filter(|_| in_table);
        first.find_map(|(at, word)| Some((at, code_in(word, patterns, products)?)))
    });
    let place = place.or_else(|| {
        let mut cells = words.iter().enumerate().filter(|_| row.len() > 1);
        cells.find_map(|(at, cell)| {
            cell.split_whitespace()
                .find_map(|word| Some((at, known(word, products)?.to_owned())))
        })
    });
    let (at, code) = place?;
    let behind = numbers(&words[at + 1..]);
    let found = if behind.is_empty() {
        numbers(&words[..at])
    } else {
        behind
    };
    if found.is_empty() {
        return None;
    }
    let sure = product(&found, style).is_some();
    let is_known = products.contains_key(&code.to_uppercase());
    // A sentence may name a product and any number: only what says that it counts is an item.
    let plain = |word: &&str| {
        amount::read(word).is_some() || is_mark(word) || known(word, products).is_some()
    };
    let counts = found.iter().any(|number| number.counted) || words.iter().all(plain);
    let is_item = match (row.len(), is_known) {
        (1, true) => sure || counts,
        (1 | 2, false) => sure,
        (_, true) => true,
        (_, false) => sure || found.len() > 1,
    };
    is_item.then(|| (code, assigned(&found, style)))
}

/// Whether a word only joins a code and its numbers.
fn is_mark(word: &str) -> bool {
    amount::is_unit(word.trim_end_matches(':'))
        || amount::is_currency(word)
        || word.chars().all(|c| !c.is_alphanumeric())
}

/// The numbers among words; a unit behind a number belongs to it, and so does a currency.
fn numbers(words: &[&str]) -> Vec<Written> {
    let mut numbers: Vec<Written> = Vec::new();
    let (mut behind_number, mut behind_title) = (false, false);
    for word in words {
        let title = word.trim_end_matches(':').to_lowercase();
        let title = matches!(title.as_str(), "qty" | "quantity" | "menge" | "anzahl");
        if let Some(mut number) = amount::read(word) {
            number.counted |= behind_title;
            numbers.push(number);
            behind_number = true;
        } else if let (true, Some(last)) = (behind_number, numbers.last_mut()) {
            last.counted |= amount::is_unit(word);
            last.money |= amount::is_currency(word);
            behind_number = false;
        }
        behind_title = title;
    }
    numbers
}

/// Count, price and total that stand one behind the other and multiply: these are sure.
fn product(numbers: &[Written], style: Style) -> Option<Numbers> {
    numbers.windows(3).find_map(|three| {
        let (price, total) = (three[1].amount(style)?, three[2].amount(style)?);
        let quantity = count(&three[0], style, Some(price), Some(total))?;
        (quantity > 0 && total.is_product(quantity, price)).then_some(Numbers {
            quantity: Some(quantity),
            price: Some(price),
            total: Some(total),
        })
    })
}

/// Which number is what.
fn assigned(numbers: &[Written], style: Style) -> Numbers {
    if let Some(sure) = product(numbers, style) {
        return sure;
    }
    let counts = |written: &&Written| !written.money;
    let named: Vec<&Written> = numbers.iter().filter(|written| written.counted).collect();
    let plain: Vec<&Written> = numbers.iter().filter(counts).collect();
    // One that is called a count, or the only one that may be.
    let chosen = match (named.as_slice(), plain.as_slice()) {
        ([one], _) | ([], [one]) => Some(*one),
        _ => None,
    };
    let mut money = numbers
        .iter()
        .filter(|written| written.money && !written.counted);
    let price = money.next().and_then(|written| written.amount(style));
    Numbers {
        quantity: chosen.and_then(|written| written.amount(style)?.whole()),
        price,
        total: money.next().and_then(|written| written.amount(style)),
    }
}

#[cfg(test)]
#[path = "items_tests.rs"]
mod tests;
