//! Pages to print: one section for each order, with its address and what a person must know of it.
//!
//! Pure: rows in, text out. A page loads nothing from elsewhere, and every text on it is escaped.

use std::fmt::Write as _;

use super::views::WholeShown;

const PAGE: &str = include_str!("page.html");

/// A page of sections; `nothing` is said if there are none.
#[must_use]
pub fn whole(title: &str, sections: &str, nothing: &str) -> String {
    let page = PAGE.replace("<!-- title -->", title);
    if sections.is_empty() {
        let nothing = format!("<section><p>{nothing}</p></section>\n");
        return page.replace("<!-- sections -->", &nothing);
    }
    page.replace("<!-- sections -->", sections)
}

/// Begins a section: whose order it is, where it goes, what was said of it.
pub fn begin(out: &mut String, whole: &WholeShown) {
    let order = &whole.order;
    let contact = &order.contact;
    let place = [&contact.zip_code, &contact.city, &contact.state].map(String::as_str);
    let place = joined(&place, " ");
    let telephones = joined(&[&contact.telephone1, &contact.telephone2], ", ");
    let ship_to = [
        contact.name.as_str(),
        &contact.street1,
        &contact.street2,
        &place,
    ];
    let reach = [telephones.as_str(), &contact.email];
    let reseller = [order.reseller.as_str(), &order.reseller_email];
    let name = if order.reference.is_empty() {
        &order.id
    } else {
        &order.reference
    };
    let _ = writeln!(out, "<section>\n<h1>Order {}</h1>\n<dl>", escaped(name));
    for (title, lines) in [
        ("Ship to", &ship_to[..]),
        ("Telephone, e-mail", &reach[..]),
        ("Reseller", &reseller[..]),
        ("Account", &[order.account.as_str()][..]),
        ("Purchase order", &[order.purchase_order.as_str()][..]),
        ("Order id", &[order.id.as_str()][..]),
        ("Status in MyAdmin", &[order.status.as_str()][..]),
    ] {
        let lines: Vec<String> = lines
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| escaped(line))
            .collect();
        let _ = writeln!(
            out,
            "<div><dt>{title}</dt><dd>{}</dd></div>",
            lines.join("<br>")
        );
    }
    let comment = (!order.comment.trim().is_empty()).then(|| ("Comment", escaped(&order.comment)));
    let mail = whole
        .mail_differs
        .iter()
        .map(|said| ("Mail says otherwise", escaped(said)));
    for (title, said) in comment.into_iter().chain(mail) {
        let _ = writeln!(
            out,
            "<div class=\"wide\"><dt>{title}</dt><dd>{said}</dd></div>"
        );
    }
    out.push_str("</dl>\n");
}

/// A table: its titles, a class for each column, and its rows.
pub fn table(
    out: &mut String,
    heading: &str,
    columns: &[(&str, &str)],
    rows: impl IntoIterator<Item = Vec<String>>,
) {
    let _ = write!(out, "<h2>{heading}</h2>\n<table><thead><tr>");
    for (title, class) in columns {
        let class = if *class == "tick" {
            " class=\"tick\""
        } else {
            ""
        };
        let _ = write!(out, "<th{class}>{title}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (text, (_, class)) in row.iter().zip(columns) {
            let class = if *class == "code" {
                " class=\"code\""
            } else {
                ""
            };
            let _ = write!(out, "<td{class}>{}</td>", escaped(text));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
}

/// Ends a section.
pub fn end(out: &mut String, whole: &WholeShown, said: &str) {
    for unit in whole.units.iter().filter(|unit| !unit.odd.is_empty()) {
        let _ = writeln!(
            out,
            "<p class=\"wide\">Unit {}: compare with the device. {}</p>",
            escaped(&unit.id),
            escaped(&unit.odd.join("; ")),
        );
    }
    let _ = writeln!(out, "<footer>{}</footer>\n</section>", escaped(said));
}

fn joined(texts: &[&str], between: &str) -> String {
    let texts: Vec<&str> = texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .collect();
    texts.join(between)
}

/// A text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
