//! Answers without the secrets of this process.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse as _;

use crate::config::{printable, redact};

/// An answer without the secrets this process knows (C1), and in JSON without control characters of others. Others than JSON and
/// text are left alone, and so is data of the user (CSV, pages).
pub async fn cleaned(answer: Response<Body>) -> Response<Body> {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let json = kind.contains("json");
    if !json && !kind.starts_with("text/plain") {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // Bodies of ours are in memory already.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = redact::text(&text);
    let text = match json {
        true => printable::json(&text).into_owned(),
        false => text.into_owned(),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(text))
}
