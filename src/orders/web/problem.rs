//! The error of a request, as JSON: a stable code, the field and its value where there is one, and the remedy.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::orders::store::Error;

/// Characters of a wrong value that are shown again.
const SHOWN: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// A stable word, for programs.
    code: &'static str,
    /// The member of the body, or of the query, that is wrong; or what was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    what: String,
    remedy: String,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            field: None,
            value: None,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A member that cannot be used.
    pub(super) fn field(
        field: &str,
        value: Option<&str>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let value = value.map(|text| text.chars().take(SHOWN).collect());
        Self {
            field: Some(field.to_owned()),
            value,
            ..Self::new(StatusCode::BAD_REQUEST, "bad-field", what, remedy)
        }
    }

    /// A body or query that cannot be read at all.
    pub(super) fn unreadable(
        status: StatusCode,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(status, "unreadable", what, remedy)
    }

    pub(super) fn missing(field: &str, name: &str, remedy: &str) -> Self {
        let mut problem = Self::field(field, Some(name), "there is none", remedy);
        (problem.status, problem.code) = (StatusCode::NOT_FOUND, "not-found");
        problem
    }

    /// The same, of something that was only asked for.
    pub(super) fn or_missing(mut self) -> Self {
        if self.status == StatusCode::CONFLICT {
            (self.status, self.code) = (StatusCode::NOT_FOUND, "not-found");
        }
        self
    }

    pub(super) fn nowhere(path: &str) -> Self {
        let what = "this path is not served";
        let mut problem = Self::missing(
            "path",
            path,
            "src/orders/README.md lists the paths of the API",
        );
        what.clone_into(&mut problem.what);
        problem
    }

    pub(super) fn not_so(method: &str) -> Self {
        let what = "this path does not take this method";
        let remedy = "GET reads, POST acts; the Allow header names what it takes";
        let mut problem = Self::field("method", Some(method), what, remedy);
        (problem.status, problem.code) = (StatusCode::METHOD_NOT_ALLOWED, "method");
        problem
    }

    /// A recovery whose plan asks something: nothing was written.
    pub(super) fn undecided(questions: &[String]) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "undecided",
            format!(
                "nothing was accepted, because it is not clear: {}",
                questions.join("; ")
            ),
            "settle what `decide` of GET /api/recover lists, then repeat it",
        )
    }

    /// The device registry or MyAdmin did not answer. What they said may name places that are nobody's business.
    pub(super) fn unanswered() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unanswered",
            "the device registry or MyAdmin did not answer; nothing was changed",
            "repeat it; the log tells the cause, and `dig-ingest check --connect` tries both",
        )
    }

    pub(super) fn stranger() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token",
            "no token of ours was given",
            "send the header `Authorization: Bearer TOKEN` with a token of orders.web.token_file",
        )
    }

    pub(super) fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "the answer took too long; the act may have been done",
            "look whether it was done, then repeat it",
        )
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => {
                let mut problem = Self::field("", None, refusal.what, refusal.remedy);
                problem.field = Some(refusal.subject);
                (problem.status, problem.code) = (StatusCode::CONFLICT, "refused");
                problem
            }
            Error::Changed(_) => Self::new(
                StatusCode::CONFLICT,
                "changed",
                error.to_string(),
                "look at it again, then repeat the act",
            ),
            // What the database said may name places that are nobody's business.
            Error::Database { .. } => {
                tracing::warn!(%error, "a request to the orders API met the store's failure");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store",
                    "the store did not answer; the act may have been done",
                    "look whether it was done, then repeat it; the log tells the cause",
                )
            }
            Error::LeaseLost | Error::Corrupt { .. } | Error::Missing(_) => {
                tracing::error!(%error, "a request to the orders API met a broken store");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store",
                    "what is stored cannot be used",
                    "the log tells what; restore the store from a backup",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self }))).into_response()
    }
}
