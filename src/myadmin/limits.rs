//! How often we call: a table of limits per surface and per method, and the pause that a 429 asks for
//! (myadmin/API.md 1.5 and U19).
//!
//! Every published figure counts, so a call passes all limits that name it. The defaults are the lowest ones published;
//! `[myadmin.limits]` overrides them by name. Owns the limiters and one pause per surface, which every call of this
//! process applies. Cancelled, a wait has spent what it passed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

use super::methods::{Method, Version};
use crate::http::pacing::rate::Limiter;

/// What one path or host of MyAdmin limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Rpc(Version),
    Rest,
}

impl Surface {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rpc(version) => version.name(),
            Self::Rest => "rest",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Rpc(Version::V2) => 0,
            Self::Rpc(Version::V3) => 1,
            Self::Rest => 2,
        }
    }
}

/// All calls of this process, whatever the surface.
const ALL: &str = "all";

const MINUTE: u64 = 60;
/// Units a window may be given in, and their seconds.
const UNITS: [(&str, u64); 4] = [
    ("s", 1),
    ("min", MINUTE),
    ("h", 60 * MINUTE),
    ("day", 24 * 60 * MINUTE),
];

/// The lowest published figures (1.5); where none is published, those of paths without a rule of their own.
const DEFAULTS: [(&str, &str); 6] = [
    (ALL, "10000/10min"),
    ("v2", "375/min, 22000/h"),
    ("v3", "375/min, 22000/h"),
    ("rest", "5000/min, 100000/h"),
    // Limited, but without a published figure.
    ("Authenticate", "10/min"),
    ("GetDeviceContracts", "1250/15min"),
];

/// So many calls in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quota {
    count: u32,
    window_s: u64,
}

impl Quota {
    fn read(text: &str) -> Option<Self> {
        let (count, window) = text.trim().split_once('/')?;
        let digits = window.trim().bytes().take_while(u8::is_ascii_digit).count();
        let (times, unit) = window.trim().split_at(digits);
        let times: u64 = if times.is_empty() {
            1
        } else {
            times.parse().ok()?
        };
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let quota = Self {
            count: count.trim().parse().ok()?,
            window_s: times.checked_mul(*seconds)?,
        };
        (quota.count > 0 && quota.window_s > 0).then_some(quota)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, seconds): &&(&str, u64)| self.window_s.is_multiple_of(*seconds);
        // The largest unit that divides it; seconds always do.
        let (unit, seconds) = UNITS.iter().rev().find(whole).unwrap_or(&UNITS[0]);
        match self.window_s / seconds {
            1 => write!(f, "{}/{unit}", self.count),
            times => write!(f, "{}/{times}{unit}", self.count),
        }
    }
}

/// The limits of one name; none is no limit.
fn quotas(text: &str) -> Option<Vec<Quota>> {
    match text.trim() {
        "none" => Some(Vec::new()),
        text => text.split(',').map(Quota::read).collect(),
    }
}

/// Limits by name: `all`, `v2`, `v3`, `rest`, or a method's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(BTreeMap<&'static str, Vec<Quota>>);

impl Default for Table {
    fn default() -> Self {
        let read = |(name, text)| (name, quotas(text).unwrap_or_default());
        Self(DEFAULTS.into_iter().map(read).collect())
    }
}

impl Table {
    /// No limit at all: for simulators of one's own.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    fn named(name: &str) -> Option<&'static str> {
        [ALL, "v2", "v3", "rest"]
            .into_iter()
            .chain(Method::ALL.iter().map(|method| method.name()))
            .find(|known| known.eq_ignore_ascii_case(name))
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, quotas)| {
            let texts: Vec<_> = quotas.iter().map(ToString::to_string).collect();
            let text = if texts.is_empty() {
                "none".to_owned()
            } else {
                texts.join(", ")
            };
            (*name, text)
        }))
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Self::default();
        for (name, text) in BTreeMap::<String, String>::deserialize(deserializer)? {
            let known = Self::named(&name).ok_or_else(|| {
                D::Error::custom(format!(
                    "there is nothing named {name} to limit; give all, v2, v3, rest or a method's name"
                ))
            })?;
            let quotas = quotas(&text).ok_or_else(|| {
                D::Error::custom(format!(
                    "{name} = {text:?} is no limit; give \"none\", or counts and windows such as \"375/min, 22000/h, 1250/15min\""
                ))
            })?;
            table.0.insert(known, quotas);
        }
        Ok(table)
    }
}

/// See the module.
pub(super) struct Limits {
    limiters: BTreeMap<&'static str, Vec<Limiter>>,
    began: Instant,
    /// Per surface, until when nothing is sent: milliseconds since `began`. Only ever grows.
    paused: [AtomicU64; 3],
}

impl Limits {
    /// `share` is the part of every figure that we use, in (0, 1].
    pub fn new(table: &Table, share: f64) -> Self {
        let limiter = |quota: &Quota| {
            let count = (f64::from(quota.count) * share).max(1.0);
            Limiter::windowed(count, Duration::from_secs(quota.window_s))
        };
        let limiters = table
            .0
            .iter()
            .map(|(name, quotas)| (*name, quotas.iter().filter_map(limiter).collect()))
            .collect();
        Self {
            limiters,
            began: Instant::now(),
            paused: Default::default(),
        }
    }

    /// Waits until one call may go, up to `bound`.
    ///
    /// # Errors
    /// How much longer it would be.
    pub async fn take(
        &self,
        method: Method,
        surface: Surface,
        bound: Duration,
    ) -> Result<(), Duration> {
        let until = Instant::now() + bound;
        loop {
            let paused =
                Duration::from_millis(self.paused[surface.index()].load(Ordering::Relaxed));
            let wait = (self.began + paused).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            if Instant::now() + wait > until {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
        for name in [method.name(), surface.name(), ALL] {
            for limiter in self.limiters.get(name).into_iter().flatten() {
                let left = until.saturating_duration_since(Instant::now());
                limiter.take_within(left).await?;
            }
        }
        Ok(())
    }

    /// Nothing is sent to this surface for so long.
    pub fn pause(&self, surface: Surface, wait: Duration) {
        let until = self.began.elapsed() + wait;
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.paused[surface.index()].fetch_max(until, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPC: Surface = Surface::Rpc(Version::V2);

    fn read(text: &str) -> Result<Table, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn figures_are_read_and_written_alike() {
        let table = Table::default();
        for (name, text) in DEFAULTS {
            let written = serde_json::to_value(&table).unwrap();
            assert_eq!(written[name], text);
        }
        let given = read(r#"{"authenticate": "1/2s, 7/2day", "rest": "none"}"#).unwrap();
        let written = serde_json::to_value(&given).unwrap();
        assert_eq!(
            (written["Authenticate"].as_str(), written["rest"].as_str()),
            (Some("1/2s, 7/2day"), Some("none"))
        );
        assert_eq!(written["v2"], "375/min, 22000/h", "the others stay");
        assert_eq!(read(&written.to_string()).unwrap(), given);
        for bad in [
            r#"{"v4": "1/min"}"#,
            r#"{"v2": "many"}"#,
            r#"{"v2": "0/min"}"#,
            r#"{"v2": "1/0min"}"#,
            r#"{"v2": ""}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_passes_every_limit_that_names_it() {
        let table = read(r#"{"Authenticate": "2/min", "v2": "4/min", "all": "none"}"#).unwrap();
        let limits = Limits::new(&table, 1.0);
        let bound = Duration::from_secs(3600);
        let begin = Instant::now();
        for _ in 0..5 {
            limits.take(Method::Authenticate, RPC, bound).await.unwrap();
        }
        assert!(
            begin.elapsed() >= Duration::from_secs(120),
            "{:?}",
            begin.elapsed()
        );
        let refused = limits.take(Method::Authenticate, RPC, Duration::ZERO).await;
        assert!(refused.is_err());
        assert_eq!(
            limits
                .take(Method::Orders, Surface::Rest, Duration::ZERO)
                .await,
            Ok(())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_its_surface_only_and_is_never_shortened() {
        let limits = Limits::new(&Table::none(), 1.0);
        limits.pause(RPC, Duration::from_secs(60));
        limits.pause(RPC, Duration::from_secs(5));
        let refused = limits
            .take(Method::Provision, RPC, Duration::from_secs(59))
            .await;
        assert_eq!(refused, Err(Duration::from_secs(60)));
        assert_eq!(
            limits
                .take(Method::Orders, Surface::Rest, Duration::ZERO)
                .await,
            Ok(())
        );
        let begin = Instant::now();
        assert_eq!(
            limits
                .take(Method::Provision, RPC, Duration::from_secs(61))
                .await,
            Ok(())
        );
        assert!(begin.elapsed() >= Duration::from_secs(60));
    }
}
