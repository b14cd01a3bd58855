//! Judges whether the telemetry consumer has lost its group for good: it is not a steady member, although the group is settled
//! without it and its coordinator answers other clients.
//!
//! librdkafka can lose the connection to the group's coordinator and never open it again (seen after a broker was fenced and came
//! back: "GroupCoordinator: Timed out 0 in-flight, 0 retry-queued, 9 out-queue" each minute; librdkafka#3082, #3396). Such a
//! consumer is re-created, as one that was fenced is.
//!
//! * A rebalance is no reason: other members may take as long as they need while the group says that it prepares one.
//! * Without an answer of the coordinator nothing is decided, and the count begins anew: a session begins anew too when a
//!   coordinator comes back.
//!
//! Pure: facts and time are arguments. The watcher ([`super::watcher`]) asks the group and reports the loss.

use std::time::{Duration, Instant};

use crate::ops::status::Membership;

/// What the coordinator says about the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No rebalance is under way (`Stable`), or the group has no member (`Empty`, `Dead`, not listed).
    Settled,
    /// Members are joining, or wait for their assignments.
    Rebalancing,
}

impl GroupState {
    /// The meaning of a state's name in the Kafka protocol; a group that is not listed has the empty name.
    #[must_use]
    pub fn named(state: &str) -> Self {
        match state {
            "PreparingRebalance" | "CompletingRebalance" => Self::Rebalancing,
            _ => Self::Settled,
        }
    }
}

/// How long the group has been settled without the consumer.
#[derive(Debug)]
pub struct MembershipLoss {
    /// `kafka.session_timeout_ms`.
    session: Duration,
    /// The consumer is judged from here on: what is known of the one before it does not count.
    started: Instant,
    /// Since when every answer has said that the group is settled, while the consumer was no steady member.
    settled_since: Option<Instant>,
}

impl MembershipLoss {
    /// Begins with a new consumer.
    #[must_use]
    pub fn new(session: Duration, started: Instant) -> Self {
        Self {
            session,
            started,
            settled_since: None,
        }
    }

    /// Whether the group is to be asked: the consumer has been no steady member for a session timeout.
    pub fn is_doubted(&mut self, membership: Option<&Membership>, now: Instant) -> bool {
        let doubted = membership.is_some_and(|membership| {
            let since = membership.since.max(self.started);
            !membership.steady && now.saturating_duration_since(since) > self.session
        });
        if !doubted {
            self.settled_since = None;
        }
        doubted
    }

    /// Takes one answer about the group, `None` if there was none; whether the consumer is lost.
    pub fn is_lost(&mut self, answer: Option<GroupState>, now: Instant) -> bool {
        if answer != Some(GroupState::Settled) {
            self.settled_since = None;
            return false;
        }
        let since = *self.settled_since.get_or_insert(now);
        now.saturating_duration_since(since) > self.session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(10);

    fn membership(steady: bool, since: Instant) -> Membership {
        Membership {
            steady,
            states: String::new(),
            since,
        }
    }

    #[test]
    fn a_consumer_is_lost_only_if_the_group_is_settled_without_it_for_a_session() {
        let start = Instant::now();
        let mut loss = MembershipLoss::new(SESSION, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let settled = Some(GroupState::Settled);
        let unsteady = membership(false, at(5));
        assert!(!loss.is_doubted(None, at(5)));
        assert!(!loss.is_doubted(Some(&unsteady), at(15)));
        assert!(loss.is_doubted(Some(&unsteady), at(16)));
        assert!(!loss.is_lost(settled, at(16)));
        assert!(!loss.is_lost(Some(GroupState::Rebalancing), at(20)));
        assert!(!loss.is_lost(settled, at(21)));
        assert!(!loss.is_lost(None, at(30)));
        assert!(!loss.is_lost(settled, at(31)));
        assert!(!loss.is_lost(settled, at(41)));
        assert!(loss.is_lost(settled, at(42)));
    }

    #[test]
    fn a_member_that_became_steady_is_doubted_from_the_beginning() {
        let start = Instant::now();
        let mut loss = MembershipLoss::new(SESSION, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(loss.is_doubted(Some(&membership(false, at(0))), at(11)));
        assert!(!loss.is_lost(Some(GroupState::Settled), at(11)));
        assert!(!loss.is_doubted(Some(&membership(true, at(12))), at(30)));
        assert!(loss.is_doubted(Some(&membership(false, at(31))), at(42)));
        assert!(!loss.is_lost(Some(GroupState::Settled), at(42)));
    }

    #[test]
    fn the_state_of_the_consumer_before_it_does_not_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut loss = MembershipLoss::new(SESSION, at(100));
        assert!(!loss.is_doubted(Some(&membership(false, at(0))), at(105)));
        assert!(loss.is_doubted(Some(&membership(false, at(0))), at(111)));
    }
    #[test]
    fn states_of_the_protocol_have_a_meaning() {
        for (name, state) in [
            ("Stable", GroupState::Settled),
            ("Empty", GroupState::Settled),
            ("Dead", GroupState::Settled),
            ("", GroupState::Settled),
            ("PreparingRebalance", GroupState::Rebalancing),
            ("CompletingRebalance", GroupState::Rebalancing),
        ] {
            assert_eq!(GroupState::named(name), state, "{name}");
        }
    }
}
