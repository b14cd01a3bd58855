//! The page's files, in the binary.

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Name, type and text of every file but the page itself.
const FILES: [(&str, &str, &str); 13] = [
    ("style.css", STYLE, include_str!("assets/style.css")),
    ("parts.css", STYLE, include_str!("assets/parts.css")),
    ("icon.svg", IMAGE, include_str!("assets/icon.svg")),
    ("main.js", SCRIPT, include_str!("assets/main.js")),
    ("ask.js", SCRIPT, include_str!("assets/ask.js")),
    ("dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("figures.js", SCRIPT, include_str!("assets/figures.js")),
    ("chart.js", SCRIPT, include_str!("assets/chart.js")),
    ("now.js", SCRIPT, include_str!("assets/now.js")),
    ("devices.js", SCRIPT, include_str!("assets/devices.js")),
    ("orders.js", SCRIPT, include_str!("assets/orders.js")),
    ("order.js", SCRIPT, include_str!("assets/order.js")),
    ("letters.js", SCRIPT, include_str!("assets/letters.js")),
];

pub(super) async fn index() -> Response {
    revalidated(Html(include_str!("assets/index.html")).into_response())
}

/// The file of a name.
pub(super) fn named(name: &str) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(known, ..)| *known == name)?;
    Some(revalidated(
        ([(header::CONTENT_TYPE, *kind)], *text).into_response(),
    ))
}

/// A younger program has younger files under the same names.
fn revalidated(mut answer: Response) -> Response {
    let kept = HeaderValue::from_static("no-cache");
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    answer
}
