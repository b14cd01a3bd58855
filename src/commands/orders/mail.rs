//! `dig-ingest orders mail`: what was understood of purchase orders and packing slips, for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::super::Report;
use super::table::{self, or_dash};
use super::{say, table::plain};
use crate::commands::columns::aligned;
use crate::config::Settings;
use crate::orders::mail::apart::Program;
use crate::orders::mail::views::{self, ItemShown, LetterShown, MailShown};
use crate::orders::store::Store;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Act {
    /// List the purchase orders and packing slips of the mail, the oldest first, with the orders they are of.
    #[command(after_help = "Examples:
  dig-ingest orders mail list --config job.toml
  dig-ingest orders mail list --report json --config job.toml")]
    List,
    /// Show what was understood of a mail item by item, and what differs from MyAdmin. Changes nothing.
    #[command(after_help = "Examples:
  dig-ingest orders mail show 1042 --config job.toml
  dig-ingest orders mail show PO-7781 --config job.toml
  dig-ingest orders mail show 1764500000.M1P1.host --report json --config job.toml")]
    Show {
        /// The name of its file, its message id, a Sales No or PO number that it names, or the id of its order.
        name: String,
    },
}

/// Runs one of them.
///
/// # Errors
/// No folder of mail, no such mail, or the store failed.
pub(super) async fn run(
    store: &Store,
    settings: &Settings,
    act: Act,
    (now, report): (Timestamp, Report),
) -> anyhow::Result<()> {
    let named = match &act {
        Act::List => None,
        Act::Show { name } => Some(name.as_str()),
    };
    let config = &settings.orders.mail;
    let mails = views::mails(store, config, named, Program::default(), now).await?;
    say(
        report,
        || match named {
            None => list(&mails),
            Some(_) => mails.iter().map(mail).collect::<Vec<_>>().join("\n"),
        },
        || json!({ "mails": mails }),
    );
    Ok(())
}

fn list(mails: &[MailShown]) -> String {
    if mails.is_empty() {
        return "no purchase order and no packing slip is in orders.mail.folder\n".to_owned();
    }
    let header = [
        "MAIL", "LETTER", "SENT", "SALES NO", "PO", "ORDER", "ITEMS", "SAID",
    ];
    let rows = mails.iter().flat_map(|mail| {
        let letters = mail.letters.iter().map(|letter| {
            [
                mail.file.clone(),
                letter.kind.to_owned(),
                letter.sent.clone(),
                or_dash(letter.sales_no.as_deref()),
                or_dash(letter.po_number.as_deref()),
                or_dash(Some(&letter.orders.join(", "))),
                letter
                    .items
                    .iter()
                    .filter(|item| item.letter.is_some())
                    .count()
                    .to_string(),
                summary(mail, letter),
            ]
        });
        let none = mail.letters.is_empty().then(|| {
            let dash = || "-".to_owned();
            [
                mail.file.clone(),
                dash(),
                mail.arrived.clone(),
                dash(),
                dash(),
                dash(),
                dash(),
                format!("unreadable: {}", mail.unread.join("; ")),
            ]
        });
        letters.chain(none)
    });
    aligned(header, rows)
}

fn summary(mail: &MailShown, letter: &LetterShown) -> String {
    let why = mail.ignored.as_ref().or(letter.not_compared.as_ref());
    match why {
        Some(why) => format!("not compared: {why}"),
        None if letter.differs.is_empty() => "agrees".to_owned(),
        None => format!("differs: {}", letter.differs.join("; ")),
    }
}

fn mail(mail: &MailShown) -> String {
    let mut out = String::new();
    lines(
        &mut out,
        &[
            ("mail", &mail.file),
            ("from", &mail.sender),
            ("subject", &mail.subject),
            ("arrived", &mail.arrived),
            ("not compared", mail.ignored.as_deref().unwrap_or_default()),
        ],
    );
    for letter in &mail.letters {
        out.push('\n');
        out.push_str(&text(letter));
    }
    for unread in &mail.unread {
        let _ = writeln!(out, "\nnot read: {}", plain(unread));
    }
    out
}

fn lines(out: &mut String, lines: &[(&str, &str)]) {
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "{name:<13} {}", table::plain(value));
    }
}

fn text(letter: &LetterShown) -> String {
    let mut out = String::new();
    lines(
        &mut out,
        &[
            ("letter", letter.kind),
            ("message", &letter.name),
            ("sent", &letter.sent),
            (
                "forwarded by",
                letter.forwarded_by.as_deref().unwrap_or_default(),
            ),
            ("Sales No", letter.sales_no.as_deref().unwrap_or_default()),
            ("PO number", letter.po_number.as_deref().unwrap_or_default()),
            ("also names", &letter.also.join(", ")),
            ("reseller", letter.reseller.as_deref().unwrap_or_default()),
            ("order", &letter.orders.join(", ")),
            (
                "not compared",
                letter.not_compared.as_deref().unwrap_or_default(),
            ),
        ],
    );
    if !letter.items.is_empty() {
        let header = [
            "ITEM", "LETTER", "MYADMIN", "PRICE", "AGREED", "DIFFERS", "WHERE",
        ];
        out.push('\n');
        out += &aligned(header, letter.items.iter().map(|item| row(item, letter)));
    }
    if !letter.differs.is_empty() {
        out.push('\n');
    }
    for difference in &letter.differs {
        let _ = writeln!(out, "differs: {}", table::plain(difference));
    }
    if let (Some(order), false) = (letter.orders.first(), letter.differs.is_empty()) {
        let _ = writeln!(
            out,
            "ask Geotab which of them is right; if MyAdmin is: dig-ingest orders clear mail-differs {order} --by NAME"
        );
    }
    out
}

fn row(item: &ItemShown, letter: &LetterShown) -> [String; 7] {
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let known = !letter.orders.is_empty();
    [
        item.code.clone(),
        count(item.letter),
        if known {
            count(item.myadmin)
        } else {
            "?".to_owned()
        },
        or_dash(item.price.as_deref()),
        or_dash(item.agreed.as_deref()),
        if item.differs { "yes" } else { "no" }.to_owned(),
        or_dash(item.place.as_deref()),
    ]
}
