//! A letter: a purchase order or a packing slip, with the numbers and the items it names.
//!
//! Pure. A mail is a letter by its sender, and its subject or the name of an attachment; so is a mail within it that somebody forwarded
//! (`forwarded`). One mail may hold letters of several orders: one for each attachment, or each section of a text, that has a number
//! and items of its own. A number without items only says that the order is known by mail.

use jiff::Timestamp;

use super::amount::Amount;
use super::forwarded;
use super::items::{self, Found, Item, Products};
use super::opened::Opened;
use super::patterns::{Kind, Numbers, Patterns, all};
use super::text::Text;

/// Bytes of a mail that are no attachment in Base64, at most: headers, texts, boundaries.
pub const PLAIN: usize = 2 * 1024 * 1024;
/// Letters of one mail, at most, and numbers of one letter that it only mentions.
const MOST: usize = 20;

/// A purchase order or a packing slip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    pub kind: Kind,
    /// For people: its message id, or its file's name.
    pub name: String,
    pub sent: Timestamp,
    pub sales_no: Option<String>,
    pub po_number: Option<String>,
    /// Numbers that it mentions besides: an order that has one of them is known by mail.
    pub also: Vec<String>,
    /// Whose order it says it is.
    pub customer: Option<String>,
    pub items: Vec<Item>,
    /// Totals of it that are not what they are the total of.
    pub wrong_sums: Vec<String>,
    /// Who forwarded it, if somebody did.
    pub forwarded_by: Option<String>,
}

impl Email {
    /// Its name for operators.
    #[must_use]
    pub fn title(&self) -> String {
        let kind = self.kind.name();
        let by = self
            .forwarded_by
            .as_ref()
            .map_or(String::new(), |by| format!(", forwarded by {by}"));
        format!("the {kind} of mail {}{by}", self.name)
    }

    /// Whether two letters name the same items, wherever these stand.
    #[must_use]
    pub fn items_alike(&self, other: &Self) -> bool {
        alike(&self.items, &other.items)
    }
}

fn alike(one: &[Item], other: &[Item]) -> bool {
    let said = |items: &[Item]| {
        let mut said: Vec<(String, u64, Option<Amount>)> = items
            .iter()
            .map(|item| (item.code.clone(), item.quantity, item.price))
            .collect();
        said.sort();
        said
    };
    said(one) == said(other)
}

/// The result of reading a mail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Understood {
    pub letters: Vec<Email>,
    /// The faults of its letters that cannot be read or understood.
    pub unread: Vec<String>,
}

/// A part of a mail that is of one order.
struct Section {
    numbers: Numbers,
    found: Found,
    customer: Option<String>,
}

/// Whether the parser may read a mail: it keeps up to some 50 bytes for every one that is no attachment in Base64.
///
/// # Errors
/// Why not.
pub fn check_size(bytes: &[u8]) -> Result<(), String> {
    let is_encoded = |line: &&[u8]| {
        let letters =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        (40..=100).contains(&line.len()) && line.iter().all(letters)
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let plain: usize = lines
        .filter(|line| !is_encoded(line))
        .map(|line| line.len() + 1)
        .sum();
    if plain > PLAIN {
        return Err(format!(
            "it has {plain} bytes beside attachments in Base64, at most {PLAIN} are read; remove the mail"
        ));
    }
    Ok(())
}

/// The content of a mail. `file` names it and `arrived` dates it if it does not do so itself.
#[must_use]
pub fn understand(
    opened: &Opened,
    patterns: &Patterns,
    products: &Products,
    file: &str,
    arrived: Timestamp,
) -> Understood {
    let mut reading = Reading {
        patterns,
        products,
        file,
        arrived,
        understood: Understood::default(),
    };
    reading.visit(opened, None, opened.sent);
    let Understood { letters, unread } = &mut reading.understood;
    letters.truncate(MOST);
    unread.truncate(MOST);
    reading.understood
}

struct Reading<'a> {
    patterns: &'a Patterns,
    products: &'a Products,
    file: &'a str,
    arrived: Timestamp,
    understood: Understood,
}

impl Reading<'_> {
    fn visit(&mut self, opened: &Opened, by: Option<&str>, sent: Option<i64>) {
        if let Some(kind) = self.patterns.kind(opened) {
            self.letters(opened, kind, by, sent);
        } else if self.patterns.forwarded_from.is_match(&opened.sender) {
            let inner = forwarded::within(opened);
            let letter = inner
                .iter()
                .find_map(|inner| Some((inner, self.patterns.kind(inner)?)));
            if let Some((inner, kind)) = letter {
                self.letters(inner, kind, Some(&opened.sender), sent);
            }
        }
        let believed = self.patterns.forwarded_from.is_match(&opened.sender);
        for inner in opened.inner.iter().filter(|_| believed) {
            self.visit(inner, Some(&opened.sender), inner.sent.or(sent));
        }
    }

    fn letters(&mut self, opened: &Opened, kind: Kind, by: Option<&str>, sent: Option<i64>) {
        let read = |text: &Text| items::read(text, kind, self.patterns, self.products);
        // Of the forms of a text the one whose items are understood best.
        let body = opened.body.iter().max_by_key(|text| read(text).items.len());
        let attached = opened
            .attached
            .iter()
            .filter_map(|attached| attached.text.as_ref());
        let mut sections: Vec<Section> = Vec::new();
        let mut also: Vec<String> = Vec::new();
        for text in body.into_iter().chain(attached) {
            self.sections(text, kind, &mut sections, &mut also);
        }
        let everything = everything(opened);
        let base = self.patterns.numbers(&everything);
        for section in &mut sections {
            if section.numbers.is_empty() || section.numbers.agree(&base) {
                section.numbers.fill(&base);
            }
        }
        // What has no items says at most that its order is known.
        let (with_items, without): (Vec<Section>, Vec<Section>) = sections
            .into_iter()
            .partition(|section| !section.found.items.is_empty());
        for section in &without {
            also.extend(
                section
                    .numbers
                    .sales_no
                    .clone()
                    .into_iter()
                    .chain(section.numbers.po_number.clone()),
            );
        }
        let odd = without
            .iter()
            .chain(&with_items)
            .flat_map(|section| section.found.odd.iter().cloned());
        self.understood.unread.extend(odd);
        let understood_items = !with_items.is_empty();
        let mut letters: Vec<Email> = Vec::new();
        for section in with_items {
            let same = letters.iter_mut().find(|letter| {
                letter.sales_no == section.numbers.sales_no
                    && letter.po_number == section.numbers.po_number
            });
            match same {
                Some(letter) if alike(&letter.items, &section.found.items) => {}
                Some(letter) => letter.items.extend(section.found.items),
                None => letters.push(self.letter(opened, kind, by, sent, section)),
            }
        }
        let is_base = |letter: &Email| {
            let numbers = Numbers {
                sales_no: letter.sales_no.clone(),
                po_number: letter.po_number.clone(),
            };
            numbers == base || numbers.agree(&base)
        };
        if !letters.iter().any(is_base) {
            let bare = Section {
                numbers: base,
                found: Found::default(),
                customer: None,
            };
            letters.insert(0, self.letter(opened, kind, by, sent, bare));
        }
        let own = |letter: &Email| {
            letter
                .sales_no
                .clone()
                .into_iter()
                .chain(letter.po_number.clone())
        };
        let named: Vec<String> = letters.iter().flat_map(own).collect();
        also.retain(|number| !named.contains(number));
        also.sort();
        also.dedup();
        also.truncate(MOST);
        let customer = self.patterns.customer(&everything);
        let alone = letters.len() == 1;
        for letter in &mut letters {
            letter.also.clone_from(&also);
            if alone && letter.customer.is_none() {
                letter.customer.clone_from(&customer);
            }
        }
        for attached in &opened.attached {
            if let Some(gap) = &attached.unread
                && !(gap.minor && understood_items)
            {
                let name = if attached.name.is_empty() {
                    String::new()
                } else {
                    format!("attachment {:?}: ", attached.name)
                };
                self.understood.unread.push(format!("{name}{}", gap.said));
            }
        }
        let texts = opened
            .attached
            .iter()
            .any(|attached| attached.text.is_some());
        if texts && !understood_items && self.understood.unread.is_empty() {
            self.understood.unread.push(
                "no item with its quantity was found in its attachments; compare it by hand, and the titles of its table with \
                 orders.mail.item_title and quantity_title"
                    .to_owned(),
            );
        }
        self.understood.letters.extend(letters);
    }

    fn letter(
        &self,
        opened: &Opened,
        kind: Kind,
        by: Option<&str>,
        sent: Option<i64>,
        section: Section,
    ) -> Email {
        let name = opened.id.as_deref().unwrap_or(self.file);
        Email {
            kind,
            name: name.chars().take(200).collect(),
            // A date to come would never grow old.
            sent: sent
                .and_then(|sent| Timestamp::from_second(sent).ok())
                .unwrap_or(self.arrived)
                .min(self.arrived),
            sales_no: section.numbers.sales_no,
            po_number: section.numbers.po_number,
            also: Vec::new(),
            customer: section.customer,
            items: section.found.items,
            wrong_sums: section.found.wrong_sums,
            forwarded_by: by.map(|by| by.chars().take(100).collect()),
        }
    }

    /// The orders of one text: several where it names several Sales Nos (or, without any, purchase orders) that have items each.
    fn sections(
        &self,
        text: &Text,
        kind: Kind,
        sections: &mut Vec<Section>,
        also: &mut Vec<String>,
    ) {
        let lines = text.lines.as_str();
        let sales: Vec<(usize, String)> = all(&self.patterns.sales_no, lines).collect();
        let orders: Vec<(usize, String)> = all(&self.patterns.po_number, lines).collect();
        let first = if sales.is_empty() { &orders } else { &sales };
        let mut starts: Vec<usize> = vec![0];
        for pair in first.windows(2) {
            if pair[0].1 != pair[1].1 && starts.len() < MOST {
                starts.push(lines[..pair[1].0].rfind('\n').map_or(0, |at| at + 1));
            }
        }
        let section = |from: usize, to: usize| {
            let before = lines[..from].matches('\n').count();
            // The lines before it stay there empty, so that places are those of the text.
            let part = Text {
                place: text.place.clone(),
                lines: format!("{}{}", "\n".repeat(before), &lines[from..to]),
            };
            Section {
                numbers: self.patterns.numbers(&lines[from..to]),
                found: items::read(&part, kind, self.patterns, self.products),
                customer: self.patterns.customer(&lines[from..to]),
            }
        };
        let ends = starts.iter().skip(1).copied().chain([lines.len()]);
        let parts: Vec<Section> = starts
            .iter()
            .zip(ends)
            .map(|(from, to)| section(*from, to))
            .collect();
        let numbers = sales
            .iter()
            .chain(&orders)
            .map(|(_, number)| number.clone());
        also.extend(numbers.take(MOST * 4));
        let counted = parts
            .iter()
            .filter(|part| !part.found.items.is_empty())
            .count();
        if counted > 1 {
            sections.extend(
                parts
                    .into_iter()
                    .filter(|part| !part.found.items.is_empty()),
            );
        } else {
            sections.push(section(0, lines.len()));
        }
    }
}

/// Everything of a mail that is text.
fn everything(opened: &Opened) -> String {
    let names = opened
        .attached
        .iter()
        .map(|attached| attached.name.as_str());
    let mut all = names
        .chain([opened.subject.as_str()])
        .collect::<Vec<_>>()
        .join("\n");
    let attached = opened
        .attached
        .iter()
        .filter_map(|attached| attached.text.as_ref());
    for text in opened.body.iter().chain(attached) {
        all.push('\n');
        all.push_str(&text.lines);
    }
    all
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
