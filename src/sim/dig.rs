//! The gateway's HTTP face: the five operations over the [`World`]. Decides nothing itself.

use axum::http::request::Parts;
use axum::http::{Method, header};

use super::answers::{self, Answer};
use super::operation::Operation;
use super::request_pipeline::{Buffer, bearer, text};
use super::scan::Refusal;
use super::settings::Settings;
use super::world::World;

/// What a request asks of the gateway.
#[must_use]
pub fn operation(method: &Method, path: &str) -> Operation {
    match (method, path.to_ascii_lowercase().as_str()) {
        (&Method::POST, "/authentication/authenticate") => Operation::Authenticate,
        (&Method::POST, "/authentication/refresh-token") => Operation::RefreshToken,
        (&Method::POST, "/authentication/revoke-token") => Operation::RevokeToken,
        (&Method::POST, "/records") => Operation::Records,
        (&Method::GET, "/invalidrecords") => Operation::InvalidRecords,
        _ => Operation::Other,
    }
}

/// A request whose body is there.
pub struct Call<'a> {
    pub world: &'a World,
    pub parts: &'a Parts,
    pub operation: Operation,
    pub settings: &'a Settings,
    pub number: u64,
    /// Requests to `/records` there when it came, itself included.
    pub present: u64,
    /// Bytes of the body, kept or not.
    pub length: usize,
}

/// What the gateway does by itself. Takes effect at once; nothing is awaited. `read` is what was found of the records
/// already.
#[must_use]
pub fn answer(call: &Call<'_>, buffer: &mut Buffer, read: Option<Result<(), Refusal>>) -> Answer {
    match call.operation {
        Operation::Authenticate | Operation::RefreshToken | Operation::RevokeToken => {
            answers::authentication(call.world, call.operation, &buffer.body, call.settings)
        }
        Operation::InvalidRecords => {
            let query = call.parts.uri.query().unwrap_or("");
            answers::invalid_records(call.world, bearer(call.parts), query, call.settings)
        }
        Operation::Records => call.records(buffer, read).unwrap_or_else(|refused| refused),
        _ => {
            let known = [
                "/authentication/authenticate",
                "/authentication/refresh-token",
                "/authentication/revoke-token",
                "/records",
                "/invalidrecords",
            ];
            let path = call.parts.uri.path().to_ascii_lowercase();
            if known.contains(&path.as_str()) {
                let allowed = if path == "/invalidrecords" {
                    "GET"
                } else {
                    "POST"
                };
                let answer = Answer::error(405, "The method is not allowed.", call.settings);
                answer.allowing(allowed)
            } else {
                Answer::error(404, "There is no such resource.", call.settings)
            }
        }
    }
}

impl Call<'_> {
    fn records(
        &self,
        buffer: &mut Buffer,
        read: Option<Result<(), Refusal>>,
    ) -> Result<Answer, Answer> {
        let (world, settings) = (self.world, self.settings);
        let refuse = |status, text: &str| Answer::error(status, text, settings);
        if text(self.parts, &header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            return Err(refuse(
                settings.encoding_status,
                "The content encoding is not supported.",
            ));
        }
        let user = answers::user(world, bearer(self.parts), settings)?;
        let media = text(self.parts, &header::CONTENT_TYPE).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(refuse(415, "The content type is not application/json."));
        }
        if self.length > settings.max_bytes {
            world.counters.refusal("too many bytes".to_owned());
            return Err(refuse(413, "The request is too large."));
        }
        if settings.throttle > 0 && self.present > u64::from(settings.throttle) {
            return Err(Answer::throttled(settings));
        }
        if let Err(refusal) =
            read.unwrap_or_else(|| world.read(&mut buffer.body, &mut buffer.records))
        {
            world.counters.refusal(reason(&refusal));
            let text = match (&refusal, settings.explain) {
                (_, true) => refusal.to_string(),
                (Refusal::TooMany(_), _) => "The request has too many records.".to_owned(),
                _ => "The request is missing parameters or has wrong ones.".to_owned(),
            };
            let status = if matches!(refusal, Refusal::TooMany(_)) {
                413
            } else {
                400
            };
            return Err(refuse(status, &text));
        }
        match world.accept(&user, self.number, &buffer.body, &mut buffer.records) {
            Ok(_) => Ok(Answer::tracking()),
            Err(record) => {
                world.counters.refusal("a poisonous record".to_owned());
                let text = if settings.explain {
                    String::from_utf8_lossy(record)
                } else {
                    "".into()
                };
                Err(refuse(
                    400,
                    format!("The request has a record that cannot be taken. {text}").trim_end(),
                ))
            }
        }
    }
}

/// A refusal without its place, so that refusals of one kind count together.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Malformed { reason, .. } => format!("not JSON: {reason}"),
        Refusal::Record { member, reason, .. } => format!("{member}: {reason}"),
        other => other.to_string(),
    }
}
