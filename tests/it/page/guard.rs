//! Who is served by the operator page: hosts, origins, tokens and sessions, and the headers of every answer.

use reqwest::Method;
use reqwest::header::HeaderMap;

use super::site::{HOSTILE, Site, TOKEN};

const GET: Method = Method::GET;
const POST: Method = Method::POST;

fn guarded(headers: &HeaderMap) -> bool {
    let has = |name: &str, text: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.to_str().is_ok_and(|value| value.contains(text)))
    };
    has("content-security-policy", "default-src 'none'")
        && has("content-security-policy", "frame-ancestors 'none'")
        && has("x-content-type-options", "nosniff")
        && has("referrer-policy", "no-referrer")
}

/// Every file that the page names, beginning with the page itself.
pub(super) async fn files(site: &Site) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut wanted = vec!["/".to_owned()];
    while let Some(path) = wanted.pop() {
        if files.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let (status, headers, text) = site.ask(GET, &path, &[], "").await;
        assert_eq!(status, 200, "{path}");
        assert!(guarded(&headers), "{path}: {headers:?}");
        for piece in text.split('"') {
            match piece.strip_prefix("./") {
                Some(name) if path.ends_with(".js") => wanted.push(format!("/page/{name}")),
                _ if piece.starts_with("/page/") && piece.contains('.') => {
                    wanted.push(piece.to_owned());
                }
                _ => {}
            }
        }
        files.push((path, text));
    }
    files
}

#[tokio::test]
async fn every_file_of_the_page_is_served_with_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let files = files(&site).await;
    for name in [
        "main.js",
        "now.js",
        "devices.js",
        "orders.js",
        "letters.js",
        "style.css",
    ] {
        assert!(files.iter().any(|(path, _)| path.ends_with(name)), "{name}");
    }
    for path in ["/page/nothing.js", "/api/devices?named=x", "/page/session"] {
        let (_, headers, _) = site.ask(GET, path, &[], "").await;
        assert!(guarded(&headers), "{path}: {headers:?}");
    }
    let (status, headers, text) = site.ask(GET, "/api/export/worksheet-page", &[], "").await;
    assert_eq!(status, 200, "{text}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    site.end().await;
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::with(folder.path(), |ops| {
        ops.page.hosts = vec!["ops.example.com".to_owned()];
    })
    .await;
    for (host, status) in [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:9464", 200),
        ("OPS.example.com", 200),
        ("evil.example.com:9464", 421),
        ("localhost.evil.example.com", 421),
    ] {
        for path in ["/", "/api/orders"] {
            let (got, headers, text) = site.ask(GET, path, &[("host", host)], "").await;
            assert_eq!(got, status, "{host}{path}: {text}");
            assert!(guarded(&headers), "{host}{path}");
        }
    }
    let own = site.origin();
    for (origin, status) in [
        (None, 403),
        (Some("https://evil.example.com"), 403),
        (Some("null"), 403),
        (Some("http://127.0.0.1:1"), 403),
        (Some(&*own), 200),
    ] {
        let mut headers = vec![("dig-person", "ann%20b")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = site
            .json((POST, "/api/orders/8/approve", status), &headers, "{}")
            .await;
        if status == 403 {
            assert_eq!(answer["error"]["code"], "origin", "{origin:?}");
        }
    }
    let headers = [("sec-fetch-site", "cross-site")];
    site.json((GET, "/api/orders", 403), &headers, "").await;
    site.end().await;
}

#[tokio::test]
async fn who_acts_without_a_token_says_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let own = site.origin();
    let long = "x".repeat(61);
    for name in [None, Some("  "), Some("a%00b"), Some(&*long)] {
        let mut headers = vec![("origin", &*own)];
        headers.extend(name.map(|name| ("dig-person", name)));
        let answer = site
            .json((POST, "/api/orders/8/approve", 400), &headers, "{}")
            .await;
        assert_eq!(answer["error"]["code"], "person", "{name:?}");
    }
    let headers = [("origin", &*own), ("dig-person", "Zo%C3%AB")];
    site.json((POST, "/api/orders/8/approve", 200), &headers, "{}")
        .await;
    let events = site.json((GET, "/api/events?order=8", 200), &[], "").await;
    let events = events["events"].as_array().unwrap();
    let approved = events.iter().find(|event| event["act"] == "approve");
    assert_eq!(approved.unwrap()["actor"], "Zoë", "{events:?}");
    site.end().await;
}

#[tokio::test]
async fn beyond_this_machine_nothing_is_served_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::with(folder.path(), |ops| {
        ops.listen = "0.0.0.0:0".parse().unwrap();
    })
    .await;
    for path in ["/", "/page/main.js", "/page/session", "/api/orders"] {
        let answer = site.json((GET, path, 403), &[], "").await;
        let remedy = answer["error"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("ops.page.token_file"), "{path}: {remedy}");
    }
    let (status, ..) = site.ask(GET, "/livez", &[], "").await;
    assert_eq!(status, 200);
    site.end().await;
}

#[tokio::test]
async fn a_session_begins_with_a_token_and_ends_with_a_logout() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::with_token(folder.path()).await;
    let own = site.origin();
    for path in [
        "/api/orders",
        "/api/devices",
        "/api/letters",
        "/page/history",
    ] {
        let answer = site.json((GET, path, 401), &[], "").await;
        assert_eq!(answer["error"]["code"], "token", "{path}");
    }
    // A name that a browser says is no token.
    site.json((GET, "/api/orders", 401), &[("dig-person", "ann")], "")
        .await;
    let origin = [("origin", &*own)];
    for wrong in [
        "{}",
        "",
        "{\"token\":\"0123456789abcdef-bob\"}",
        "{\"token\":\"\"}",
    ] {
        site.json((POST, "/page/login", 401), &origin, wrong).await;
    }
    let body = format!("{{\"token\":\"{TOKEN}\"}}");
    site.json(
        (POST, "/page/login", 403),
        &[("origin", "http://evil.example.com")],
        &body,
    )
    .await;
    let (status, headers, text) = site.ask(POST, "/page/login", &origin, &body).await;
    assert_eq!(status, 200, "{text}");
    assert!(!text.contains(TOKEN));
    let cookie = headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with = [("cookie", &*cookie), ("origin", &*own)];
    let session = site.json((GET, "/page/session", 200), &with, "").await;
    assert_eq!(session["who"], "ann");
    site.json((POST, "/api/orders/8/approve", 200), &with, "{}")
        .await;
    let events = site
        .json((GET, "/api/events?order=8", 200), &with, "")
        .await;
    assert!(events.to_string().contains("\"actor\":\"ann\""), "{events}");
    // The cookie alone does nothing from elsewhere.
    site.json(
        (POST, "/api/orders/8/retry", 403),
        &[("cookie", &*cookie)],
        "{}",
    )
    .await;
    site.json((POST, "/page/logout", 200), &with, "").await;
    site.json((GET, "/api/orders", 401), &with, "").await;
    // A program bears the token itself, and needs no origin.
    let bearer = format!("Bearer {TOKEN}");
    let bears = [("authorization", &*bearer)];
    site.json(
        (POST, "/api/orders/8/park", 200),
        &bears,
        "{\"why\":\"wait\"}",
    )
    .await;
    site.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let found = site
        .json((GET, "/api/devices?named=truck-1", 200), &[], "")
        .await;
    assert_eq!(found["devices"][0]["why"], "records are sent");
    let found = site
        .json((GET, "/api/devices?named=%3Cimg", 200), &[], "")
        .await;
    assert_eq!(found["devices"][0]["device_id"], HOSTILE);
    // No partition is assigned: all of them have answered.
    let held = site
        .json((GET, "/api/devices/held?named=truck-1", 200), &[], "")
        .await;
    assert_eq!(held["held"].as_array().map(Vec::len), Some(0));
    for (path, status) in [
        ("/api/devices/held", 400),
        ("/api/letters?from=mail", 400),
        ("/api/letters?colour=red", 400),
        ("/api/nowhere", 404),
    ] {
        let answer = site.json((GET, path, status), &[], "").await;
        assert!(
            !answer["error"]["remedy"].as_str().unwrap().is_empty(),
            "{path}"
        );
    }
    site.end().await;
}
