//! File descriptors: how many this process may have, and how many of them servers may take (N1).
//!
//! The work (Kafka, the gateway, stores) opens what it needs; servers that only report share a small part, so that connections of
//! others never use up what the work needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are asked for at most: more would only make a leak last longer.
const MOST: u64 = 65_536;

/// Descriptors this process may have.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(MOST)
}

/// Raises the limit as far as the administrator's own limit permits. Many systems begin with 1024, for programs that use select(2).
pub fn raise() {
    let given = getrlimit(Resource::Nofile);
    let wanted = given.maximum.map_or(MOST, |most| most.min(MOST));
    if given.current.is_some_and(|current| current < wanted) {
        let limits = Rlimit {
            current: Some(wanted),
            maximum: given.maximum,
        };
        // Without it the limit stays as it was.
        let _ = setrlimit(Resource::Nofile, limits);
    }
}

/// Connections that one server may have: `wanted`, but never more than a `part`-th of the descriptors.
#[must_use]
pub fn share(wanted: usize, part: u64) -> usize {
    within(limit(), wanted, part)
}

fn within(limit: u64, wanted: usize, part: u64) -> usize {
    let most = usize::try_from(limit / part).unwrap_or(usize::MAX);
    wanted.min(most).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_a_small_part_of_the_descriptors() {
        assert_eq!(within(1_024, 1_000, 16), 64);
        assert_eq!(within(1_024, 16, 16), 16);
        assert_eq!(within(20, 64, 16), 4);
        raise();
        assert!(share(64, 16) <= 64);
    }
}
