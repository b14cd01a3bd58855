//! The gateway's JSON, read leniently (dig/API.md sections 2 and 3): member names in any case, `Data` as text, object,
//! null or absent, dates with or without a zone. Pure.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use serde_json::Value;

use crate::config::redact;
use crate::config::secret::Secret;

/// Longest server text kept.
const TEXT_CHARS: usize = 500;

/// No token is believed to live longer than ten years.
const LONGEST_LIFE_S: u64 = 10 * 365 * 24 * 3600;

/// A token pair as an authentication answer gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub bearer: Secret,
    pub refresh: Secret,
    /// How long the bearer lives from the moment of the answer; `None` when nothing in the answer says so.
    pub life: Option<Duration>,
    /// `Expires` and the JWT's own `exp` disagree by more than a minute; the shorter one counts.
    pub disagrees: bool,
}

/// A member by name, in any case; the exact name wins.
#[must_use]
pub fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| {
        object
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    member(value, name)?.as_str()
}

/// A whole number, also one given as text.
fn whole(value: &Value, name: &str) -> Option<i64> {
    match member(value, name)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The server's words in a body of any kind: the texts of `Error` if there are some, else the body itself, shortened,
/// on one line, without secrets and control characters.
#[must_use]
pub fn error_text(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|value| {
            let texts = match member(&value, "Error")? {
                Value::Array(texts) => texts
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join("; "),
                Value::String(text) => text.clone(),
                _ => return None,
            };
            (!texts.is_empty()).then_some(texts)
        });
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    redact::foreign(&said, TEXT_CHARS)
}

/// The tracking id of an accepted request, if the body has one.
#[must_use]
pub fn tracking_id(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(text(&value, "Data")?.chars().take(64).collect())
}

/// The token pair of an authentication answer. `now_s` is seconds since the epoch.
///
/// # Errors
/// What the answer lacks; never its content, which may hold tokens (C1).
pub fn pair(body: &[u8], now_s: i64) -> Result<Pair, String> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "not JSON".to_owned())?;
    let answer = member(&value, "Data")
        .filter(|d| d.is_object())
        .unwrap_or(&value);
    if member(answer, "Authenticated").and_then(Value::as_bool) != Some(true) {
        return Err("`Authenticated` is not true".to_owned());
    }
    let token = |name: &str| {
        let token = member(answer, name).ok_or(format!("no `{name}`"))?;
        // A bare text is taken for the token itself.
        let string = token
            .as_str()
            .or_else(|| text(token, "TokenString"))
            .filter(|s| !s.is_empty());
        let string = string.filter(|s| s.bytes().all(|b| b.is_ascii_graphic()));
        string
            .map(|s| (token, Secret::token(s)))
            .ok_or(format!("no `{name}.TokenString`"))
    };
    let (bearer_value, bearer) = token("BearerToken")?;
    let (_, refresh) = token("RefreshToken")?;

    // Lifetimes are measured by the server's clock alone where possible: ours may be wrong.
    let expires = text(bearer_value, "Expires").and_then(epoch_s);
    let created = text(bearer_value, "Created").and_then(epoch_s);
    let stated = expires.map(|expires| expires.saturating_sub(created.unwrap_or(now_s)));
    let claimed = jwt_life(bearer.reveal(), now_s);
    let disagrees = matches!((stated, claimed), (Some(a), Some(b)) if a.abs_diff(b) > 60);
    let life = match (stated, claimed) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let life = life
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.unsigned_abs().min(LONGEST_LIFE_S)));
    Ok(Pair {
        bearer,
        refresh,
        life,
        disagrees,
    })
}

/// Seconds since the epoch of a date and time; one without a zone is UTC.
fn epoch_s(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Some(stamp.as_second());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(
        jiff::tz::TimeZone::UTC
            .to_timestamp(civil)
            .ok()?
            .as_second(),
    )
}

/// The life a JWT claims: `exp - iat`, or `exp - now`.
fn jwt_life(token: &str, now_s: i64) -> Option<i64> {
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    let exp = whole(&claims, "exp")?;
    Some(exp.saturating_sub(whole(&claims, "iat").unwrap_or(now_s)))
}

/// The body of an authentication call: member names and their secret values.
pub(super) struct Form<'a>(pub &'a [(&'static str, &'a str)]);

impl Form<'_> {
    pub fn body(&self) -> Vec<u8> {
        let object: serde_json::Map<String, Value> = self
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        Value::Object(object).to_string().into_bytes()
    }
}

impl fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn jwt(claims: &Value) -> String {
        let encode = |v: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v);
        format!(
            "{}.{}.sig",
            encode(b"{}"),
            encode(claims.to_string().as_bytes())
        )
    }

    fn answer(bearer: &str, created: Option<&str>, expires: Option<&str>) -> Vec<u8> {
        json!({"Error": [], "Data": {"Authenticated": true, "UserId": "a@b.c",
            "BearerToken": {"TokenString": bearer, "Created": created, "Expires": expires},
            "RefreshToken": {"TokenString": "r+/="}}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_pair_in_the_documented_form() {
        let body = answer(
            "b",
            Some("2021-02-09T05:00:00.0000000Z"),
            Some("2021-02-12T05:00:00.0000000Z"),
        );
        let pair = pair(&body, 0).unwrap();
        assert_eq!((pair.bearer.reveal(), pair.refresh.reveal()), ("b", "r+/="));
        assert_eq!(pair.life, Some(Duration::from_secs(72 * 3600)));
    }

    #[test]
    fn dates_without_a_zone_are_utc_and_the_clock_skew_does_not_matter() {
        let body = answer(
            "b",
            Some("2019-07-26T00:00:10"),
            Some("2019-07-26T01:00:10"),
        );
        assert_eq!(
            pair(&body, 99_999_999_999).unwrap().life,
            Some(Duration::from_secs(3600))
        );
        let body = answer("b", None, Some("1970-01-01T00:02:00"));
        assert_eq!(pair(&body, 60).unwrap().life, Some(Duration::from_secs(60)));
    }

    #[test]
    fn the_jwt_is_the_second_witness() {
        let token = jwt(&json!({"iat": 100, "exp": 700}));
        let body = answer(
            &token,
            Some("2019-07-26T00:00:00"),
            Some("2019-07-26T01:00:00"),
        );
        let pair_of_both = pair(&body, 0).unwrap();
        assert_eq!(
            pair_of_both.life,
            Some(Duration::from_secs(600)),
            "the shorter one counts"
        );
        assert!(pair_of_both.disagrees);
        let only_jwt = pair(&answer(&token, None, Some("soon")), 0).unwrap();
        assert_eq!(only_jwt.life, Some(Duration::from_secs(600)));
        assert_eq!(pair(&answer("opaque", None, None), 0).unwrap().life, None);
        let absurd = jwt(&json!({"iat": i64::MIN, "exp": i64::MAX}));
        let life = pair(&answer(&absurd, None, None), 0).unwrap().life;
        assert_eq!(life, Some(Duration::from_secs(LONGEST_LIFE_S)));
    }

    #[test]
    fn member_names_in_any_case_and_no_envelope() {
        let body = json!({"authenticated": true, "bearertoken": {"tokenString": "b"}, "REFRESHTOKEN": "r"}).to_string();
        let pair = pair(body.as_bytes(), 0).unwrap();
        assert_eq!((pair.bearer.reveal(), pair.refresh.reveal()), ("b", "r"));
    }

    #[test]
    fn not_authenticated_is_a_failure_and_shows_no_token() {
        for flag in [json!(false), json!(null), json!("true")] {
            let body =
                json!({"Data": {"Authenticated": flag, "BearerToken": {"TokenString": "s3cret"}}})
                    .to_string();
            let why = pair(body.as_bytes(), 0).unwrap_err();
            assert!(why.contains("Authenticated") && !why.contains("s3cret"));
        }
        assert!(pair(b"<html>", 0).is_err());
        assert!(
            pair(br#"{"Data":{"Authenticated":true}}"#, 0)
                .unwrap_err()
                .contains("BearerToken")
        );
    }

    #[test]
    fn error_texts_of_every_shape() {
        assert_eq!(
            error_text(br#"{"Error":["one","two"],"Data":{}}"#),
            "one; two"
        );
        assert_eq!(error_text(br#"{"error":["one"],"data":""}"#), "one");
        assert_eq!(error_text(br#"{"Error":"one"}"#), "one");
        assert_eq!(
            error_text(b"<html>\n  <b>502</b>\n</html>"),
            "<html> <b>502</b> </html>"
        );
        assert_eq!(error_text(br#"{"Error":null}"#), r#"{"Error":null}"#);
        assert_eq!(error_text(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(error_text(&[b'x'; 10_000]).len(), TEXT_CHARS);
        assert_eq!(error_text(b""), "");
    }

    #[test]
    fn tracking_ids_or_none() {
        assert_eq!(
            tracking_id(br#"{"Error":[],"Data":"6b1f"}"#).as_deref(),
            Some("6b1f")
        );
        for body in [
            &b""[..],
            b"<html>",
            br#"{"Data":{}}"#,
            br#"{"Data":null}"#,
            b"[]",
        ] {
            assert_eq!(tracking_id(body), None);
        }
    }
}
