//! Mails for people: what was understood of each letter, item by item, beside what MyAdmin shows of its order.
//!
//! Reads the mail's folder as the watcher does, and changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::Config;
use super::amount::Amount;
use super::apart::Program;
use super::differ;
use super::email::{Email, Understood};
use super::files::MailFiles;
use super::folder;
use super::items::Item;
use super::papers::{Order, Papers, join};
use super::patterns::normal;
use crate::orders::store::Store;
use crate::orders::watched;

/// Why a mail is not compared that is none of ours by the patterns.
const NO_LETTER: &str = "it is neither a purchase order nor a packing slip by its sender, and its subject or attachments; if it should \
                         be one, compare it with purchase_order_from, purchase_order_named, packing_slip_from, packing_slip_named and \
                         forwarded_from in [orders.mail]";

/// A file of the mail's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailShown {
    pub file: String,
    /// When it came.
    pub arrived: String,
    pub sender: String,
    pub subject: String,
    pub letters: Vec<LetterShown>,
    /// The faults that keep it from being read or understood.
    pub unread: Vec<String>,
    /// Why it is not compared, if it is not.
    pub ignored: Option<String>,
}

/// A purchase order or a packing slip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterShown {
    pub kind: &'static str,
    pub name: String,
    pub sent: String,
    pub forwarded_by: Option<String>,
    pub sales_no: Option<String>,
    pub po_number: Option<String>,
    pub also: Vec<String>,
    pub reseller: Option<String>,
    /// Ids of the orders that it is of; several are shipments of one.
    pub orders: Vec<String>,
    /// The reason that it is not compared, such as a number that MyAdmin does not show.
    pub not_compared: Option<String>,
    pub items: Vec<ItemShown>,
    /// The differences between the letters of its order and MyAdmin, as the alarm `mail-differs` reports them.
    pub differs: Vec<String>,
}

/// A product, as the letter has it and as MyAdmin shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemShown {
    pub code: String,
    /// How many the letter has; none if it does not name the product.
    pub letter: Option<u64>,
    /// How many MyAdmin shows; none if it shows none.
    pub myadmin: Option<u64>,
    /// Unit price of the letter.
    pub price: Option<String>,
    /// Unit price of `orders.mail.prices`.
    pub agreed: Option<String>,
    /// Where it stands in the letter.
    pub place: Option<String>,
    /// Whether the count or the price differs.
    pub differs: bool,
}

/// The mails of the folder that are or should be letters, oldest first; `named` chooses those of one file, message, number or order.
///
/// # Errors
/// No folder is set, it cannot be read, nothing has that name, or the store failed.
pub async fn mails(
    store: &Store,
    config: &Config,
    named: Option<&str>,
    program: Program,
    now: Timestamp,
) -> anyhow::Result<Vec<MailShown>> {
    anyhow::ensure!(
        config.wanted(),
        "no mail is read: set orders.mail.folder to a Maildir or a folder of .eml files"
    );
    let files = MailFiles::new(config)?.with_program(program);
    let orders = folder::orders(store).await?;
    let products = folder::products(&orders, config);
    let since = files.since(now);
    let mut read: Vec<(MailShown, Vec<Email>)> = Vec::new();
    for (path, look) in files.list().await? {
        let file = watched::shown(&path);
        let look = match look {
            Ok(look) => look,
            Err(unread) => {
                let mut mail = MailShown::new(file, Timestamp::MIN);
                mail.unread.push(unread.to_string());
                read.push((mail, Vec::new()));
                continue;
            }
        };
        let modified = Timestamp::try_from(look.modified).unwrap_or(Timestamp::MAX);
        let mut mail = MailShown::new(file, modified);
        let mut letters = Vec::new();
        let understood = match files.opened(&path).await {
            None => continue,
            Some(Ok(Some(opened))) => {
                mail.sender.clone_from(&opened.sender);
                mail.subject.clone_from(&opened.subject);
                files.understood(opened, &path, modified, &products).await
            }
            Some(Ok(None)) => Ok(Understood::default()),
            Some(Err(why)) => Err(why),
        };
        match understood {
            Ok(understood) => {
                mail.unread = understood.unread;
                letters = understood.letters;
                let old = modified < since || letters.iter().all(|letter| letter.sent < since);
                mail.ignored = if mail.sender.is_empty() {
                    Some("it is no mail: no sender was found".to_owned())
                } else if letters.is_empty() {
                    Some(NO_LETTER.to_owned())
                } else {
                    let days = config.days;
                    old.then(|| format!("it is older than orders.mail.days = {days}"))
                };
            }
            Err(why) => mail.unread.push(why),
        }
        read.push((mail, letters));
    }
    let current: Vec<Email> = read
        .iter()
        .filter(|(mail, _)| mail.ignored.is_none())
        .flat_map(|(_, letters)| letters)
        .filter(|letter| letter.sent >= since)
        .cloned()
        .collect();
    let papers = join(&current);
    let mut mails: Vec<MailShown> = read
        .into_iter()
        .map(|(mut mail, letters)| {
            let shown = letters
                .iter()
                .map(|letter| letter_shown(letter, &papers, &orders, config));
            mail.letters = shown.collect();
            mail
        })
        .collect();
    mails.sort_by(|a, b| (&a.arrived, &a.file).cmp(&(&b.arrived, &b.file)));
    match named {
        // Mails that are no letters are nobody's business.
        None => mails.retain(|mail| !mail.letters.is_empty() || !mail.unread.is_empty()),
        Some(name) => {
            mails.retain(|mail| mail.is(name));
            anyhow::ensure!(
                !mails.is_empty(),
                "no mail of orders.mail.folder has the file name, message id, number or order {name:?}; `dig-ingest orders mail list` shows them"
            );
        }
    }
    Ok(mails)
}

impl MailShown {
    fn new(file: String, arrived: Timestamp) -> Self {
        Self {
            file,
            arrived: arrived.to_string(),
            sender: String::new(),
            subject: String::new(),
            letters: Vec::new(),
            unread: Vec::new(),
            ignored: None,
        }
    }

    fn is(&self, name: &str) -> bool {
        let id = name.trim_start_matches('<').trim_end_matches('>');
        let number = normal(name);
        self.file == name
            || self.letters.iter().any(|letter| {
                let mut numbers = letter.sales_no.iter().chain(&letter.po_number);
                letter.name == id
                    || numbers.any(|known| *known == number)
                    || letter.orders.iter().any(|order| order == name)
            })
    }
}

fn letter_shown(
    letter: &Email,
    papers: &[Papers],
    orders: &[Order],
    config: &Config,
) -> LetterShown {
    let prices = config.agreed_prices();
    let papers = papers.iter().find(|papers| papers.letters.contains(letter));
    let fitting: Vec<&Order> = orders
        .iter()
        .filter(|order| papers.is_some_and(|papers| papers.fit(order)))
        .collect();
    let shipments = papers.map_or(Vec::new(), |papers| papers.shipments(orders));
    let ids = |orders: &[&Order]| -> Vec<String> {
        orders.iter().map(|order| order.id.clone()).collect()
    };
    let open = shipments.iter().any(|order| order.open);
    let not_compared = if letter.sales_no.is_none() && letter.po_number.is_none() {
        Some("neither a Sales No nor a PO number was found: compare orders.mail.sales_no and po_number with it".to_owned())
    } else if papers.is_none() {
        Some("it is too old".to_owned())
    } else if fitting.is_empty() {
        Some("MyAdmin shows no order with these numbers".to_owned())
    } else if shipments.is_empty() {
        let ids = ids(&fitting).join(", ");
        Some(format!("several orders have these numbers: {ids}"))
    } else if !open {
        Some("the order is over".to_owned())
    } else if letter.items.is_empty() {
        Some("no item with its quantity was understood".to_owned())
    } else {
        None
    };
    let differs = match papers {
        Some(papers) if open => differ::differences(papers, &shipments, &prices),
        _ => Vec::new(),
    };
    LetterShown {
        kind: letter.kind.name(),
        name: letter.name.clone(),
        sent: letter.sent.to_string(),
        forwarded_by: letter.forwarded_by.clone(),
        sales_no: letter.sales_no.clone(),
        po_number: letter.po_number.clone(),
        also: letter.also.clone(),
        reseller: letter.customer.clone(),
        orders: ids(&shipments),
        not_compared,
        items: items(letter, &shipments, &prices),
        differs,
    }
}

/// The products of a letter, then those that MyAdmin alone shows.
fn items(letter: &Email, orders: &[&Order], prices: &BTreeMap<String, Amount>) -> Vec<ItemShown> {
    let mut shown: BTreeMap<String, u64> = BTreeMap::new();
    for (code, quantity) in orders.iter().flat_map(|order| &order.items) {
        let sum = shown.entry(code.to_uppercase()).or_default();
        *sum = sum.saturating_add(*quantity);
    }
    let all = |code: &str| -> u64 {
        let alike = letter.items.iter();
        let alike = alike.filter(|item| item.code.to_uppercase() == code);
        alike.fold(0, |sum, item| sum.saturating_add(item.quantity))
    };
    let known = !orders.is_empty();
    let named = letter.items.iter().map(|item: &Item| {
        let code = item.code.to_uppercase();
        let (agreed, myadmin) = (prices.get(&code), shown.get(&code).copied());
        let priced =
            matches!((item.price, agreed), (Some(price), Some(agreed)) if price != *agreed);
        ItemShown {
            letter: Some(item.quantity),
            myadmin,
            price: item.price.map(|price| price.to_string()),
            agreed: agreed.map(ToString::to_string),
            place: Some(item.place.clone()),
            // A product may stand in several rows.
            differs: priced || (known && myadmin != Some(all(&code))),
            code: item.code.clone(),
        }
    });
    let mut items: Vec<ItemShown> = named.collect();
    let more = shown.iter().filter(|(code, _)| {
        !letter.items.is_empty()
            && !letter
                .items
                .iter()
                .any(|item| item.code.to_uppercase() == **code)
    });
    let more = more.map(|(code, quantity)| ItemShown {
        code: code.clone(),
        letter: None,
        myadmin: Some(*quantity),
        price: None,
        agreed: prices.get(code).map(ToString::to_string),
        place: None,
        differs: true,
    });
    items.extend(more);
    items
}
