//! What an answer means for the bytes that were sent, and how long to wait before they go again. Pure.
//!
//! Owns the outcome table: [`course`] names what happens next for every status and every transport failure. Does not
//! sleep, send or count.

use std::time::Duration;

use rand::Rng;

/// A request that got no answer.
///
/// The two questions: every failure is retryable; [`Failure::may_have_effects`] answers the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection was made, so not a byte of the request was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// No answer in time; the server may or may not have taken the request.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The connection broke during the request or before the answer.
    #[error("connection broke: {0}")]
    Cut(String),
    /// A success that another server gave in the gateway's name: a portal, a proxy or a firewall with a page for people.
    #[error("another server answered in its place: {0}")]
    Foreign(String),
}

impl Failure {
    /// Whether the server may have acted on the request all the same.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::Timeout(_) | Self::Cut(_) | Self::Foreign(_) => true,
        }
    }

    /// Label of metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Cut(_) => "cut",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// What happens next with the bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// 2xx: taken.
    Accepted,
    /// 400: some record in it is refused; split until it is alone.
    Split,
    /// 413: too many bytes or records; halve.
    Halve,
    /// 401, 403: the token is rejected; renew it, then the same bytes again.
    Renew,
    /// 429, 503: asked to wait; every worker slows down, then the same bytes again.
    Throttled,
    /// Other 5xx, 408, and no answer at all: the same bytes again. `ambiguous`: they may have been taken already.
    Again { ambiguous: bool },
    /// Any other status: the address or the contract is wrong; pause with an alarm, lose nothing.
    Misconfigured,
}

/// The outcome table (DESIGN, "Upload outcomes"; dig/API.md section 5.4).
#[must_use]
pub fn course(reply: Result<u16, &Failure>) -> Disposition {
    match reply {
        Ok(200..=299) => Disposition::Accepted,
        Ok(400) => Disposition::Split,
        Ok(413) => Disposition::Halve,
        Ok(401 | 403) => Disposition::Renew,
        Ok(429 | 503) => Disposition::Throttled,
        // A proxy in front may have passed the request on before it gave up.
        Ok(408 | 500..=599) => Disposition::Again { ambiguous: true },
        Ok(_) => Disposition::Misconfigured,
        Err(failure) => Disposition::Again {
            ambiguous: failure.may_have_effects(),
        },
    }
}

/// Jittered exponential waits: the n-th is between half of and the whole of `first * 2^n`, capped at `cap`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    step: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap: cap.max(first),
            step: 0,
        }
    }

    /// The next wait.
    pub fn next(&mut self, dice: &mut impl Rng) -> Duration {
        let wait = self.nth(self.step, dice);
        self.step = self.step.saturating_add(1);
        wait
    }

    /// The wait after `step` earlier ones.
    pub fn nth(&self, step: u32, dice: &mut impl Rng) -> Duration {
        let whole = self.first.saturating_mul(1 << step.min(30)).min(self.cap);
        whole.mul_f64(dice.random_range(0.5..=1.0))
    }

    pub fn reset(&mut self) {
        self.step = 0;
    }
}

/// Reads a `Retry-After` value: seconds, or a date in one of the three forms of RFC 9110 section 5.6.7.
///
/// `now_s` is seconds since the epoch. A date in the past is a wait of zero; nonsense is `None`.
#[must_use]
pub fn retry_after(value: &str, now_s: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit is "very long"; the caller caps.
        return Some(Duration::from_secs(
            value.parse().unwrap_or(u64::from(u32::MAX)),
        ));
    }
    let at = http_date(value)?;
    Some(Duration::from_secs(u64::try_from(at - now_s).unwrap_or(0)))
}

fn http_date(value: &str) -> Option<i64> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    FORMS.iter().find_map(|form| {
        let parsed = jiff::fmt::strtime::parse(form, value)
            .ok()?
            .to_datetime()
            .ok()?;
        Some(
            jiff::tz::TimeZone::UTC
                .to_timestamp(parsed)
                .ok()?
                .as_second(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn the_outcome_table_row_by_row() {
        let rows: &[(u16, Disposition)] = &[
            (200, Disposition::Accepted),
            (202, Disposition::Accepted),
            (204, Disposition::Accepted),
            (400, Disposition::Split),
            (413, Disposition::Halve),
            (401, Disposition::Renew),
            (403, Disposition::Renew),
            (429, Disposition::Throttled),
            (503, Disposition::Throttled),
            (408, Disposition::Again { ambiguous: true }),
            (500, Disposition::Again { ambiguous: true }),
            (502, Disposition::Again { ambiguous: true }),
            (504, Disposition::Again { ambiguous: true }),
            (599, Disposition::Again { ambiguous: true }),
            (301, Disposition::Misconfigured),
            (302, Disposition::Misconfigured),
            (404, Disposition::Misconfigured),
            (405, Disposition::Misconfigured),
            (409, Disposition::Misconfigured),
            (411, Disposition::Misconfigured),
            (415, Disposition::Misconfigured),
            (422, Disposition::Misconfigured),
            (600, Disposition::Misconfigured),
        ];
        for (status, expected) in rows {
            assert_eq!(course(Ok(*status)), *expected, "status {status}");
        }
        let text = String::new;
        assert_eq!(
            course(Err(&Failure::Connect(text()))),
            Disposition::Again { ambiguous: false }
        );
        assert_eq!(
            course(Err(&Failure::Timeout(text()))),
            Disposition::Again { ambiguous: true }
        );
        assert_eq!(
            course(Err(&Failure::Cut(text()))),
            Disposition::Again { ambiguous: true }
        );
    }

    #[test]
    fn only_2xx_is_success() {
        for status in 0..=999 {
            assert_eq!(
                course(Ok(status)) == Disposition::Accepted,
                (200..300).contains(&status),
                "status {status}"
            );
        }
    }

    #[test]
    fn retry_after_in_all_forms() {
        let now = 784_111_770; // Sun, 06 Nov 1994 08:49:30 GMT
        for value in [
            "7",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(
                retry_after(value, now),
                Some(Duration::from_secs(7)),
                "{value}"
            );
        }
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now + 60),
            Some(Duration::ZERO)
        );
        assert_eq!(
            retry_after("99999999999999999999999", now),
            Some(Duration::from_secs(u64::from(u32::MAX)))
        );
        for value in ["", "soon", "-5", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(value, now), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn backoff_grows_to_its_cap_and_never_past_it(seed: u64, first in 1u64..5_000, cap in 1u64..100_000) {
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(cap));
            let mut dice = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(first, cap);
            for step in 0..100u32 {
                let whole = first.saturating_mul(1 << step.min(30)).min(cap.max(first));
                let wait = backoff.next(&mut dice);
                prop_assert!(wait <= whole && wait >= whole / 2 - Duration::from_nanos(1), "{wait:?} of {whole:?}");
            }
        }
    }
}
