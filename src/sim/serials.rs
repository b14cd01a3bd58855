//! Which serials the world knows: all of them, but for the marked ones.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What the world thinks of a serial (dig/API.md U5, U6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Known,
    /// Never provisioned.
    Unknown,
    /// Provisioned to another account.
    Foreign,
    /// Provisioned, but in no MyGeotab database.
    Unassigned,
    Terminated,
}

impl State {
    /// The cause an invalid record shows.
    #[must_use]
    pub const fn cause(self) -> Option<&'static str> {
        match self {
            Self::Known => None,
            Self::Unknown => Some("sim: SerialNo is not known"),
            Self::Foreign => Some("sim: SerialNo belongs to another account"),
            Self::Unassigned => Some("sim: the device is not in a database"),
            Self::Terminated => Some("sim: the device is terminated"),
        }
    }
}

/// A mark on one serial or on all that start alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Exactly this serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Every serial that starts so; the longest prefix wins, a serial's own mark beats any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    pub state: State,
}

/// The marks. Serials compare without regard to case (dig/API.md section 8).
#[derive(Debug, Clone, Default)]
pub struct Serials {
    serials: HashMap<String, State>,
    prefixes: Vec<(String, State)>,
}

impl Serials {
    /// Sets a mark; `Known` on a serial makes an exception from a prefix.
    pub fn mark(&mut self, mark: &Mark) {
        if let Some(serial) = &mark.serial {
            self.serials.insert(serial.to_ascii_uppercase(), mark.state);
        }
        if let Some(prefix) = &mark.prefix {
            let prefix = prefix.to_ascii_uppercase();
            self.prefixes.retain(|(known, _)| *known != prefix);
            self.prefixes.push((prefix, mark.state));
            self.prefixes
                .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty() && self.prefixes.is_empty()
    }

    #[must_use]
    pub fn state(&self, serial: &[u8]) -> State {
        let serial = String::from_utf8_lossy(serial).to_ascii_uppercase();
        self.serials.get(&serial).copied().unwrap_or_else(|| {
            let found = self
                .prefixes
                .iter()
                .find(|(prefix, _)| serial.starts_with(prefix.as_str()));
            found.map(|(_, state)| *state).unwrap_or_default()
        })
    }

    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        let serials = self
            .serials
            .iter()
            .map(|(serial, state)| (Some(serial.clone()), None, *state));
        let prefixes = self
            .prefixes
            .iter()
            .map(|(prefix, state)| (None, Some(prefix.clone()), *state));
        serials
            .chain(prefixes)
            .map(|(serial, prefix, state)| Mark {
                serial,
                prefix,
                state,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serials_own_mark_beats_the_longest_prefix() {
        let mut serials = Serials::default();
        assert_eq!(serials.state(b"ANY"), State::Known);
        let prefix = |prefix: &str, state| Mark {
            serial: None,
            prefix: Some(prefix.into()),
            state,
        };
        serials.mark(&prefix("cx", State::Foreign));
        serials.mark(&prefix("CX9", State::Terminated));
        serials.mark(&Mark {
            serial: Some("CX99".into()),
            prefix: None,
            state: State::Known,
        });
        assert_eq!(serials.state(b"CX1"), State::Foreign);
        assert_eq!(serials.state(b"cx91"), State::Terminated);
        assert_eq!(serials.state(b"cx99"), State::Known);
        assert_eq!(serials.state(b"GO1"), State::Known);
        assert_eq!(serials.marks().len(), 3);
        serials.clear();
        assert!(serials.is_empty());
    }
}
