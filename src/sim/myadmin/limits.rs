//! The rate limits before both MyAdmin faces: the table of the settings, and who has asked how much (myadmin/API.md 1.5). Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};

use crate::sim::market::{Limit, Per};

/// Who asks what.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// `v2`, `v3` or `partner`.
    pub endpoint: &'a str,
    /// A method's name; empty on the REST face.
    pub method: &'a str,
    pub user: &'a str,
    pub address: &'a str,
}

/// What was asked under a limit, and whose it was.
#[derive(PartialEq, Eq, Hash)]
struct Window {
    limit: Limit,
    whose: String,
}

/// What was asked of late: when, and how much.
#[derive(Default)]
pub struct Limiter {
    windows: HashMap<Window, (VecDeque<(i64, u64)>, u64)>,
}

impl Limit {
    fn fits(&self, asking: &Asking<'_>) -> bool {
        let same = |wanted: &Option<String>, is: &str| {
            wanted
                .as_ref()
                .is_none_or(|name| name.eq_ignore_ascii_case(is))
        };
        same(&self.endpoint, asking.endpoint) && same(&self.method, asking.method)
    }

    fn particular(&self) -> u8 {
        2 * u8::from(self.method.is_some()) + u8::from(self.endpoint.is_some())
    }
}

/// The limits that count: of those per user the most particular, and all per address.
fn counting<'l>(limits: &'l [Limit], asking: &Asking<'_>, rows: bool) -> Vec<&'l Limit> {
    let fitting: Vec<_> = limits
        .iter()
        .filter(|limit| limit.rows == rows && limit.fits(asking))
        .collect();
    let most = fitting
        .iter()
        .filter(|limit| limit.per == Per::User)
        .map(|limit| limit.particular())
        .max();
    fitting
        .into_iter()
        .filter(|limit| limit.per == Per::Address || Some(limit.particular()) == most)
        .collect()
}

impl Limiter {
    fn window(
        &mut self,
        limit: &Limit,
        asking: &Asking<'_>,
        now: i64,
    ) -> &mut (VecDeque<(i64, u64)>, u64) {
        let whose = match limit.per {
            Per::User => asking.user,
            Per::Address => asking.address,
        };
        let method = if limit.rows { asking.method } else { "" };
        let window = self
            .windows
            .entry(Window {
                limit: limit.clone(),
                whose: format!("{whose} {method}"),
            })
            .or_default();
        let since = now - (limit.seconds as i64).saturating_mul(1_000_000);
        while let Some((at, much)) = window.0.front().copied()
            && at <= since
        {
            window.0.pop_front();
            window.1 -= much;
        }
        window
    }

    /// Counts a request; false, and not counted, when it is too much.
    pub fn admit(&mut self, asking: &Asking<'_>, limits: &[Limit], now: i64) -> bool {
        let requests = counting(limits, asking, false);
        let rows = counting(limits, asking, true);
        for limit in requests.iter().chain(&rows) {
            if self.window(limit, asking, now).1 >= limit.most {
                return false;
            }
        }
        for limit in requests {
            self.add(limit, asking, 1, now);
        }
        true
    }

    /// Counts the rows an answer has.
    pub fn count_rows(&mut self, asking: &Asking<'_>, limits: &[Limit], rows: u64, now: i64) {
        if rows > 0 {
            for limit in counting(limits, asking, true) {
                self.add(limit, asking, rows, now);
            }
        }
    }

    fn add(&mut self, limit: &Limit, asking: &Asking<'_>, much: u64, now: i64) {
        let window = self.window(limit, asking, now);
        window.0.push_back((now, much));
        window.1 += much;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn limit(endpoint: Option<&str>, method: Option<&str>, most: u64) -> Limit {
        Limit {
            endpoint: endpoint.map(str::to_owned),
            method: method.map(str::to_owned),
            per: Per::User,
            most,
            seconds: 60,
            rows: false,
        }
    }

    #[test]
    fn the_most_particular_counts_and_windows_pass() {
        let limits = [
            limit(None, None, 1),
            limit(Some("v2"), None, 2),
            limit(None, Some("GetUser"), 3),
            Limit {
                per: Per::Address,
                ..limit(None, None, 6)
            },
        ];
        let mut limiter = Limiter::default();
        let mut admitted = |endpoint, method, user, now| {
            let asking = Asking {
                endpoint,
                method,
                user,
                address: "::1",
            };
            (0..10)
                .filter(|_| limiter.admit(&asking, &limits, now))
                .count()
        };
        assert_eq!(admitted("v2", "GetUser", "a", 0), 3);
        assert_eq!(admitted("v2", "Other", "a", 0), 2);
        assert_eq!(admitted("v3", "Other", "a", 0), 1);
        assert_eq!(
            admitted("v3", "Other", "b", 0),
            0,
            "the address has had its share"
        );
        assert_eq!(admitted("v3", "Other", "b", 60 * SECOND), 1);
    }

    #[test]
    fn rows_count_by_method() {
        let limits = [Limit {
            rows: true,
            ..limit(None, None, 100)
        }];
        let mut limiter = Limiter::default();
        let asking = |method| Asking {
            endpoint: "v2",
            method,
            user: "a",
            address: "::1",
        };
        assert!(limiter.admit(&asking("A"), &limits, 0));
        limiter.count_rows(&asking("A"), &limits, 100, 0);
        assert!(!limiter.admit(&asking("A"), &limits, SECOND));
        assert!(limiter.admit(&asking("B"), &limits, SECOND));
        assert!(limiter.admit(&asking("A"), &limits, 60 * SECOND));
    }
}
