//! Tests of understanding letters.

use proptest::prelude::*;

use super::super::opened::{self, How};
use super::*;
use crate::orders::mail::Config;

const NOW: &str = "2026-03-10T12:00:00Z";

fn mail(from: &str, subject: &str, attachment: &str, text: &str) -> String {
    format!(
        "From: Geotab <{from}>\r\nTo: us@example.com\r\nMessage-ID: <m1@geotab>\r\n\
         Date: Mon, 9 Mar 2026 10:00:00 +0000\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"cut\"\r\n\r\n--cut\r\nContent-Type: text/plain\r\n\r\n{text}\r\n\
         --cut\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"{attachment}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--cut--\r\n"
    )
}

fn products() -> Products {
    ["CTD-100", "CTD-200"]
        .map(|code| (code.to_owned(), code.to_owned()))
        .into()
}

fn read(bytes: &[u8], config: &Config) -> Option<Understood> {
    let patterns = Patterns::new(config).unwrap();
    let opened = opened::open(bytes, How::Whole)?;
    Some(understand(
        &opened,
        &patterns,
        &products(),
        "file",
        NOW.parse().unwrap(),
    ))
}

fn letters(text: &str) -> Vec<Email> {
    read(text.as_bytes(), &Config::default())
        .unwrap_or_default()
        .letters
}

fn letter(text: &str) -> Option<Email> {
    letters(text).into_iter().next()
}

#[test]
fn a_purchase_order_and_a_packing_slip_are_told_apart() {
    let order = mail(
        "purchasing@geotab.com",
        "Confirmation",
        "GeotabPurchaseOrderConfirmation_12.pdf",
        "Our address: P.O. Box 9, Oakville\r\nSales No: so-7781\r\nPO Number: PO-55",
    );
    let order = letter(&order).unwrap();
    assert_eq!(order.kind, Kind::PurchaseOrder);
    assert_eq!(order.sales_no.as_deref(), Some("SO-7781"));
    assert_eq!(order.po_number.as_deref(), Some("PO-55"));
    assert_eq!(order.name, "m1@geotab");
    assert_eq!(order.sent, "2026-03-09T10:00:00Z".parse().unwrap());

    let slip = mail(
        "AR@geotab.com",
        "Packing slip",
        "x.pdf",
        "Sales Order # 7781",
    );
    let slip = letter(&slip).unwrap();
    assert_eq!(slip.kind, Kind::PackingSlip);
    assert_eq!(slip.sales_no.as_deref(), Some("7781"));
    assert_eq!(slip.po_number, None);
}

#[test]
fn a_number_is_found_behind_its_label_and_nowhere_else() {
    let patterns = Patterns::new(&Config::default()).unwrap();
    for (text, found) in [
        ("PurchaseOrder\nPO Number: PO-7", Some("PO-7")),
        ("PO Number\n\tpo/8", Some("PO/8")),
        ("P.O. # 12", Some("12")),
        ("P.O. Box 12, expo 13", None),
        ("é PO", None),
    ] {
        assert_eq!(
            all(&patterns.po_number, text)
                .next()
                .map(|(_, number)| number)
                .as_deref(),
            found,
            "{text}"
        );
    }
}

#[test]
fn other_mail_is_none_of_our_business() {
    for (from, name) in [
        ("ar@geotab.com.example.org", "x.pdf"),
        ("someone@example.com", "GeotabPurchaseOrderConfirmation.pdf"),
        ("purchasing@geotab.com", "newsletter.pdf"),
    ] {
        assert_eq!(
            letter(&mail(from, "Hello", name, "Sales No: 1")),
            None,
            "{from}"
        );
    }
    assert_eq!(letter("no mail at all"), None);
}

#[test]
fn a_pattern_that_cannot_be_used_is_named() {
    let broken = Config {
        sales_no: "(".into(),
        ..Config::default()
    };
    assert!(
        Patterns::new(&broken)
            .unwrap_err()
            .starts_with("mail.sales_no")
    );
    let groupless = Config {
        po_number: "PO [0-9]+".into(),
        ..Config::default()
    };
    assert!(Patterns::new(&groupless).unwrap_err().contains("one group"));
}

const HEAD: &str = "From: Geotab <purchasing@geotab.com>\r\nMessage-ID: <m1@geotab>\r\nDate: Mon, 9 Mar 2026 10:00:00 +0000\r\n\
    Subject: PurchaseOrder\r\nMIME-Version: 1.0\r\n";

fn counted(letter: &Email) -> Vec<(&str, u64)> {
    letter
        .items
        .iter()
        .map(|item| (item.code.as_str(), item.quantity))
        .collect()
}

#[test]
fn items_are_read_of_a_mail_in_html_only_and_of_any_encoding() {
    let table = "<table><tr><th>SKU</th><th>Qty</th><th>Unit Price</th></tr><tr><td>CTD-200</td><td>2 pcs</td><td>89,50 \u{20ac}</td></tr></table>";
    let html = format!("<html><body><p>Sales No: SO-7</p>{table}</body></html>");
    let encoded: String = html
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b" <>/:".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("={byte:02X}")
            }
        })
        .collect::<Vec<_>>()
        .chunks(60)
        .map(|line| line.concat() + "=\r\n")
        .collect();
    let quoted = format!(
        "{HEAD}Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}"
    );
    // Windows-1252 that says it is UTF-8.
    let mut wrong = format!("{HEAD}Content-Type: text/html; charset=utf-8\r\n\r\n").into_bytes();
    wrong.extend(
        html.replace('\u{20ac}', "\u{80}")
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap()),
    );
    for mail in [quoted.into_bytes(), wrong] {
        let understood = read(&mail, &Config::default()).unwrap();
        let letter = &understood.letters[0];
        assert_eq!(letter.sales_no.as_deref(), Some("SO-7"));
        assert_eq!(counted(letter), [("CTD-200", 2)]);
        assert_eq!(
            letter.items[0]
                .price
                .map(|price| price.to_string())
                .as_deref(),
            Some("89.50")
        );
        assert!(understood.unread.is_empty(), "{understood:?}");
    }
}

#[test]
fn a_mail_with_two_purchase_orders_is_two_letters() {
    let text = "Sales No: SO-7\r\nPO Number: PO-7\r\nItem  Qty  Price\r\nCTD-100  2  79.00\r\n\r\n\
                Sales No: SO-8\r\nPO Number: PO-8\r\nItem  Qty  Price\r\nCTD-200  1  89.50\r\n";
    let found = letters(&format!("{HEAD}\r\n{text}"));
    let said: Vec<_> = found
        .iter()
        .map(|letter| {
            (
                letter.sales_no.as_deref(),
                letter.po_number.as_deref(),
                counted(letter),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (Some("SO-7"), Some("PO-7"), vec![("CTD-100", 2)]),
            (Some("SO-8"), Some("PO-8"), vec![("CTD-200", 1)]),
        ]
    );
    assert!(found[1].items[0].place.ends_with("line 9"), "{found:?}");
    // Numbers without items are no orders of their own, and tell that these are known.
    let found = letters(&format!(
        "{HEAD}\r\nPO Number: PO-7\r\nreplaces PO Number: PO-3\r\nCTD-100  2 pcs\r\n"
    ));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].also, ["PO-3"]);
    assert_eq!(counted(&found[0]), [("CTD-100", 2)]);
}

#[test]
fn a_letter_for_each_attachment_that_has_a_number_of_its_own() {
    let part = |name: &str, text: &str| {
        format!(
            "--cut\r\nContent-Type: text/csv; name=\"{name}\"\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{text}\r\n"
        )
    };
    let two = part("a.csv", "PO Number;PO-7\r\nSKU;Qty\r\nCTD-100;2")
        + &part("b.csv", "PO Number;PO-8\r\nSKU;Qty\r\nCTD-200;1");
    let mail = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n\r\nPlease find PO-7 and PO-8.\r\n{two}--cut--\r\n"
    );
    let found = letters(&mail);
    let said: Vec<_> = found
        .iter()
        .map(|letter| (letter.po_number.as_deref(), counted(letter)))
        .collect();
    assert_eq!(
        said,
        [
            (Some("PO-7"), vec![("CTD-100", 2)]),
            (Some("PO-8"), vec![("CTD-200", 1)])
        ]
    );

    // The same twice is not twice as much.
    let twice = part("a.csv", "SKU;Qty\r\nCTD-100;2").repeat(2);
    let mail = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n\r\nPO Number: PO-7\r\n{twice}--cut--\r\n"
    );
    assert_eq!(
        letters(&mail).iter().map(counted).collect::<Vec<_>>(),
        [vec![("CTD-100", 2)]]
    );
}

#[test]
fn a_forwarded_mail_is_the_letter_it_holds() {
    let inline = "From: Ann <ann@example.com>\r\nSubject: Fwd: PurchaseOrder\r\nDate: Tue, 10 Mar 2026 10:00:00 +0000\r\n\r\n\
        please enter\r\n\r\n---------- Forwarded message ---------\r\nFrom: Bob <bob@example.com>\r\nSubject: Fwd: PurchaseOrder\r\nTo: ann\r\n\r\n\
        > -----Original Message-----\r\n> From: Geotab <purchasing@geotab.com>\r\n> Sent: Monday\r\n> Subject: PurchaseOrder\r\n> \r\n\
        > Sales No: SO-7\r\n> CTD-200  2 pcs\r\n";
    let found = letter(inline).expect("a letter");
    assert_eq!(found.sales_no.as_deref(), Some("SO-7"));
    assert_eq!(found.forwarded_by.as_deref(), Some("ann@example.com"));
    assert_eq!(counted(&found), [("CTD-200", 2)]);

    let inner = format!("{HEAD}\r\nSales No: SO-7\r\nCTD-200  2 pcs\r\n");
    let attached = |inner: &str, from: &str| {
        format!(
            "From: {from}\r\nSubject: FW\r\nContent-Type: multipart/mixed; boundary=b{0}\r\n\r\n--b{0}\r\n\r\nsee there\r\n--b{0}\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--b{0}--\r\n",
            inner.len()
        )
    };
    let once = attached(&inner, "ann@example.com");
    let twice = attached(&once, "bob@example.com");
    for mail in [&once, &twice] {
        let found = letter(mail).expect("a letter");
        assert_eq!(
            (found.kind, found.name.as_str()),
            (Kind::PurchaseOrder, "m1@geotab")
        );
        assert_eq!(found.sent, "2026-03-09T10:00:00Z".parse().unwrap());
        assert_eq!(found.forwarded_by.as_deref(), Some("ann@example.com"));
        assert_eq!(counted(&found), [("CTD-200", 2)]);
    }
    let only = Config {
        forwarded_from: r"@office\.example$".into(),
        ..Config::default()
    };
    for mail in [inline, &once, &twice] {
        assert_eq!(read(mail.as_bytes(), &only).unwrap(), Understood::default());
    }
}

#[test]
fn what_of_a_letter_is_not_understood_is_said_with_its_place() {
    let table = "Item  Description  Qty  Price\r\nCTD-200  LTE Cat 1 tracker  two  89.50\r\nXZ-9  Harness  1  5.00\r\n";
    let understood = read(
        format!("{HEAD}\r\nSales No: SO-7\r\n{table}").as_bytes(),
        &Config::default(),
    )
    .unwrap();
    assert_eq!(counted(&understood.letters[0]), [("XZ-9", 1)]);
    assert_eq!(understood.unread.len(), 1, "{understood:?}");
    assert!(
        understood.unread[0].contains("line 3: no quantity of CTD-200"),
        "{understood:?}"
    );

    let attachment = mail(
        "purchasing@geotab.com",
        "PurchaseOrder",
        "PO.pdf",
        "Sales No: SO-7",
    );
    let understood = read(attachment.as_bytes(), &Config::default()).unwrap();
    assert!(
        understood.unread[0]
            .starts_with("attachment \"PO.pdf\": it is no PDF file that can be read"),
        "{understood:?}"
    );
    let other = mail(
        "purchasing@geotab.com",
        "PurchaseOrder",
        "PO.xlsx",
        "Sales No: SO-7",
    )
    .replace("application/pdf", "application/octet-stream")
    .replace("JVBERi0=", "UEsDBA==");
    let understood = read(other.as_bytes(), &Config::default()).unwrap();
    assert!(
        understood.unread[0].contains("files of the kind .xlsx are not read"),
        "{understood:?}"
    );
    let with_items = other.replace("Sales No: SO-7", "Sales No: SO-7\r\n2 x CTD-200");
    let understood = read(with_items.as_bytes(), &Config::default()).unwrap();
    assert_eq!(
        understood.unread,
        Vec::<String>::new(),
        "the letter says it all"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let head = b"From: ar@geotab.com\r\nSubject: ";
        let _ = read(&[&head[..], &bytes].concat(), &Config::default());
        let _ = read(&bytes, &Config::default());
    }

    #[test]
    fn any_words_are_read_without_a_panic(words in prop::collection::vec("(Sales No: [A-C]1|PO Number: [A-C]2|CTD-200|[0-9]{1,4}|pcs|Item|Qty|  |\n|\t|é)", 0..60)) {
        let mail = format!("{HEAD}Content-Type: text/plain; charset=utf-8\r\n\r\n{}", words.join(" "));
        prop_assert!(letters(&mail).len() <= MOST);
    }
}
