//! What can go wrong with a call to MyAdmin: who must act, may it be asked again, may it have had effects.
//!
//! Both questions are answered from the whole table of outcomes, without a wildcard. For a call that changes something
//! the second one decides whether it may ever be repeated (P1), so every doubt counts as an effect. No error holds a
//! password, an API key or a session (C1).

use std::fmt;
use std::time::Duration;

use crate::http::retry::Failure;

/// A call that gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{act}: {why}")]
pub struct Error {
    /// The method, or verb and kind of path, such as `GET orders`.
    pub act: &'static str,
    /// Whether the call changes anything at all when it succeeds.
    pub changes: bool,
    pub why: Why,
}

/// Why a call gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The call cannot be made as the settings or the arguments are; nothing was sent.
    #[error("{0}")]
    Unusable(String),
    /// There is no session, so nothing was sent: why the login failed.
    #[error("no session: {0}")]
    NoSession(Box<Error>),
    /// Our own limits leave no room soon enough; nothing was sent. `wait` is how long the room is away.
    #[error("our share of the rate limits is used up for {} s", wait.as_secs())]
    Full { wait: Duration },
    /// HTTP 429: the call was turned away unseen.
    #[error("HTTP 429, too many requests{}", asked(*retry_after))]
    Throttled { retry_after: Option<Duration> },
    /// No answer.
    #[error("{0}")]
    Failed(#[source] Failure),
    /// An error envelope, under whatever status.
    #[error("{0}")]
    Refused(Refusal),
    /// An HTTP error status without an envelope.
    #[error("HTTP {status}: {text}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// A success that does not say what it must.
    #[error("HTTP {status} with an answer that cannot be used: {why}")]
    Unreadable { status: u16, why: String },
}

fn asked(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(", asked to wait {} s", wait.as_secs())
    })
}

/// What kind of refusal an error envelope is (myadmin/API.md 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `SessionExpiredException`: log in again.
    Session,
    /// `SecurityException`: a role or an account is missing.
    Security,
    /// `UserAuthenticationException`, or an unknown user: name or password are wrong.
    Credentials,
    /// `ArgumentException`: an argument is wrong.
    Argument,
    /// `DuplicateException`, or the business code for it: it is there already.
    Duplicate,
    /// `InvalidDataException`.
    Data,
    /// `MyAdminException`: a rule of the business.
    Business,
    /// The method does not exist, or not under this version's path.
    Version,
    /// `GenericRequestError`, or an outage: may pass.
    Transient,
    /// An exception nobody meant to throw.
    Fault,
    /// A name that no source lists.
    Unknown,
}

impl Kind {
    /// Label of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Security => "security",
            Self::Credentials => "credentials",
            Self::Argument => "argument",
            Self::Duplicate => "duplicate",
            Self::Data => "data",
            Self::Business => "business",
            Self::Version => "version",
            Self::Transient => "transient",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }

    fn retryable(self) -> bool {
        match self {
            Self::Session | Self::Transient => true,
            Self::Security
            | Self::Credentials
            | Self::Argument
            | Self::Duplicate
            | Self::Data
            | Self::Business
            | Self::Version
            | Self::Fault
            | Self::Unknown => false,
        }
    }

    /// Session, permission and method are looked at before anything is done; all others may be thrown halfway.
    fn after_the_act(self) -> bool {
        match self {
            Self::Session | Self::Security | Self::Credentials | Self::Version => false,
            Self::Argument
            | Self::Duplicate
            | Self::Data
            | Self::Business
            | Self::Transient
            | Self::Fault
            | Self::Unknown => true,
        }
    }
}

/// An error envelope as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: Kind,
    /// `errors[0].name`: the server's exception type; empty when the envelope has none.
    pub name: String,
    /// All texts, outermost first, with the reference a support case needs.
    pub message: String,
    /// Under which HTTP status it came.
    pub status: u16,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(&self.message)?;
        if self.status != 200 {
            write!(f, " (HTTP {})", self.status)?;
        }
        Ok(())
    }
}

impl Refusal {
    /// The message without `(Ref ID: ...)`, which differs from call to call: for comparing and counting.
    #[must_use]
    pub fn comparable(&self) -> String {
        without_reference(&self.message)
    }
}

/// A text without every `(Ref ID: ...)` in it.
#[must_use]
pub fn without_reference(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("(Ref ID:") {
        let Some(end) = rest[at..].find(')') else {
            break;
        };
        out.push_str(rest[..at].trim_end());
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out.trim().to_owned()
}

impl Error {
    /// Whether the very same call may succeed later without anybody acting. Says nothing about effects.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match &self.why {
            Why::Unusable(_) => false,
            Why::NoSession(login) => login.retryable(),
            Why::Full { .. } | Why::Throttled { .. } | Why::Failed(_) => true,
            Why::Refused(refusal) => refusal.kind.retryable(),
            Why::Status { status, .. } => matches!(status, 401 | 408 | 500..=599),
            Why::Unreadable { .. } => false,
        }
    }

    /// Whether MyAdmin may have acted on the call all the same. Never for a call that only reads.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        self.changes
            && match &self.why {
                Why::Unusable(_) | Why::NoSession(_) | Why::Full { .. } | Why::Throttled { .. } => {
                    false
                }
                Why::Failed(failure) => failure.may_have_effects(),
                Why::Refused(refusal) => refusal.kind.after_the_act(),
                // Turned away by what looks at requests before they are acted on; any other status is a doubt.
                Why::Status { status, .. } => !matches!(
                    status,
                    401 | 403 | 404 | 405 | 407 | 411 | 413 | 414 | 415 | 429 | 431
                ),
                Why::Unreadable { .. } => true,
            }
    }

    /// How long MyAdmin, or our own limits, ask to wait before the next call.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match &self.why {
            Why::Full { wait } => Some(*wait),
            Why::Throttled { retry_after } | Why::Status { retry_after, .. } => *retry_after,
            Why::NoSession(login) => login.wait(),
            Why::Unusable(_) | Why::Failed(_) | Why::Refused(_) | Why::Unreadable { .. } => None,
        }
    }

    /// The refusal's kind, if there was an error envelope. A missing session tells why the login was refused.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match &self.why {
            Why::Refused(refusal) => Some(refusal.kind),
            Why::NoSession(login) => login.kind(),
            Why::Unusable(_)
            | Why::Full { .. }
            | Why::Throttled { .. }
            | Why::Failed(_)
            | Why::Status { .. }
            | Why::Unreadable { .. } => None,
        }
    }

    /// The HTTP status of the answer, if one came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.why {
            Why::Refused(refusal) => Some(refusal.status),
            Why::Status { status, .. } | Why::Unreadable { status, .. } => Some(*status),
            Why::Throttled { .. } => Some(429),
            Why::Unusable(_) | Why::NoSession(_) | Why::Full { .. } | Why::Failed(_) => None,
        }
    }

    /// Whether the session was rejected: another login may help.
    #[must_use]
    pub fn session_rejected(&self) -> bool {
        match &self.why {
            Why::Refused(refusal) => refusal.kind == Kind::Session,
            Why::Status { status, .. } => *status == 401,
            Why::Unusable(_)
            | Why::NoSession(_)
            | Why::Full { .. }
            | Why::Throttled { .. }
            | Why::Failed(_)
            | Why::Unreadable { .. } => false,
        }
    }

    /// Label of metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match &self.why {
            Why::Unusable(_) => "unusable",
            Why::NoSession(_) => "no-session",
            Why::Full { .. } => "full",
            Why::Throttled { .. } => "429",
            Why::Failed(failure) => failure.name(),
            Why::Refused(refusal) => refusal.kind.name(),
            Why::Status { status, .. } => match status {
                401 => "401",
                403 => "403",
                404 => "404",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "other",
            },
            Why::Unreadable { .. } => "unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 11] = [
        Kind::Session,
        Kind::Security,
        Kind::Credentials,
        Kind::Argument,
        Kind::Duplicate,
        Kind::Data,
        Kind::Business,
        Kind::Version,
        Kind::Transient,
        Kind::Fault,
        Kind::Unknown,
    ];

    fn of(changes: bool, why: Why) -> Error {
        Error {
            act: "ProvisionDeviceToAccount",
            changes,
            why,
        }
    }

    fn refused(kind: Kind) -> Why {
        Why::Refused(Refusal {
            kind,
            name: String::new(),
            message: String::new(),
            status: 200,
        })
    }

    #[test]
    fn before_the_request_left_there_are_no_effects_and_after_it_every_doubt_is_one() {
        let text = String::new;
        let before = [
            Why::Unusable(text()),
            Why::NoSession(Box::new(of(false, refused(Kind::Credentials)))),
            Why::Full {
                wait: Duration::ZERO,
            },
            Why::Throttled { retry_after: None },
            Why::Failed(Failure::Connect(text())),
            refused(Kind::Session),
            refused(Kind::Security),
        ];
        for why in before {
            assert!(!of(true, why.clone()).may_have_effects(), "{why:?}");
        }
        let status = |status| Why::Status {
            status,
            text: text(),
            retry_after: None,
        };
        let after = [
            Why::Failed(Failure::Timeout(text())),
            Why::Failed(Failure::Cut(text())),
            Why::Unreadable {
                status: 200,
                why: text(),
            },
            status(302),
            status(400),
            status(408),
            status(500),
            status(503),
            refused(Kind::Argument),
            refused(Kind::Transient),
            refused(Kind::Fault),
            refused(Kind::Unknown),
        ];
        for why in after {
            assert!(of(true, why.clone()).may_have_effects(), "{why:?}");
            assert!(!of(false, why).may_have_effects(), "a read changes nothing");
        }
    }

    #[test]
    fn only_sessions_and_transient_trouble_are_asked_again() {
        for kind in KINDS {
            let again = matches!(kind, Kind::Session | Kind::Transient);
            assert_eq!(of(false, refused(kind)).retryable(), again, "{kind:?}");
        }
        let login = |kind| Why::NoSession(Box::new(of(false, refused(kind))));
        assert!(!of(false, login(Kind::Credentials)).retryable());
        assert!(of(false, login(Kind::Transient)).retryable());
        for (status, again) in [
            (400, false),
            (401, true),
            (403, false),
            (408, true),
            (409, false),
            (503, true),
        ] {
            let why = Why::Status {
                status,
                text: String::new(),
                retry_after: None,
            };
            assert_eq!(of(false, why).retryable(), again, "{status}");
        }
    }

    #[test]
    fn references_are_kept_for_people_and_stripped_for_comparing() {
        let refusal = Refusal {
            kind: Kind::Business,
            name: "MyAdminException".to_owned(),
            message: "forAccount not provided! (Ref ID: 0d2c-11) (Ref ID: 7)".to_owned(),
            status: 500,
        };
        assert_eq!(refusal.comparable(), "forAccount not provided!");
        assert_eq!(
            refusal.to_string(),
            "MyAdminException: forAccount not provided! (Ref ID: 0d2c-11) (Ref ID: 7) (HTTP 500)"
        );
        assert_eq!(without_reference("a (Ref ID: 1) b"), "a b");
        assert_eq!(without_reference("open (Ref ID: 1"), "open (Ref ID: 1");
    }
}
