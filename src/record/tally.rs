//! The rejects of one message: the first of them one by one, all others counted together.
//!
//! A message of a mebibyte can hold some 350,000 empty objects; a reject, and later a dead letter, for each of them would cost
//! a thousand times the message. Owns the count for the message in hand; what it builds for one message is bounded by [`EACH`],
//! [`EXAMPLES`] and the number of rules. It does not decide what is rejected.

use super::{Outcome, Reject};

/// Rejects of one message that are kept one by one.
pub const EACH: u32 = 16;
/// How many of the others are kept as examples.
pub const EXAMPLES: usize = 3;

/// The rejects of one message beyond the first [`EACH`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// How many records were rejected, at least 1.
    pub records: u32,
    /// How many of them broke which rule, in the order in which the rules were first broken.
    pub rules: Vec<(&'static str, u32)>,
    /// The first ones, at least 1.
    pub examples: Vec<Reject>,
}

impl Excess {
    /// The rule that most of them broke; the first one where several are equal.
    #[must_use]
    pub fn main_rule(&self) -> &'static str {
        let most = self.rules.iter().map(|(_, count)| *count).max();
        let main = self.rules.iter().find(|(_, count)| Some(*count) == most);
        main.map_or("", |(rule, _)| rule)
    }

    /// Says how many records were rejected, by which rules, and shows the examples.
    #[must_use]
    pub fn detail(&self) -> String {
        let rules: Vec<String> = self
            .rules
            .iter()
            .map(|(rule, count)| format!("{count} x {rule}"))
            .collect();
        let examples: Vec<String> = self.examples.iter().map(ToString::to_string).collect();
        format!(
            "{} more records of this message were rejected: {}; the first of them: {}",
            self.records,
            rules.join(", "),
            examples.join(" | ")
        )
    }
}

/// Counts the rejects of the message in hand.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rejects of this message.
    rejects: u32,
    /// Where its [`Excess`] is among the outcomes.
    excess_at: Option<usize>,
    /// Records of all messages since the last [`clear`](Self::clear) that have no outcome of their own.
    pub(super) without_own: u64,
    /// The same when the message in hand began.
    before: u64,
}

impl Tally {
    /// A new message begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        (self.rejects, self.excess_at) = (0, None);
        self.before = self.without_own;
    }

    /// Forgets the message in hand; its outcomes are taken back by the caller.
    pub(super) fn begin_again(&mut self) {
        self.without_own = self.before;
        self.begin();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds one reject of the message in hand; `make` is called only if it is kept.
    #[cold]
    pub(super) fn reject(
        &mut self,
        outcomes: &mut Vec<Outcome>,
        rule: &'static str,
        make: impl FnOnce() -> Reject,
    ) {
        self.rejects = self.rejects.saturating_add(1);
        if self.rejects <= EACH {
            outcomes.push(Outcome::Reject(Box::new(make())));
            return;
        }
        let known = self.excess_at.and_then(|at| outcomes.get_mut(at));
        let Some(Outcome::Excess(excess)) = known else {
            self.excess_at = Some(outcomes.len());
            outcomes.push(Outcome::Excess(Box::new(Excess {
                records: 1,
                rules: vec![(rule, 1)],
                examples: vec![make()],
            })));
            return;
        };
        excess.records = excess.records.saturating_add(1);
        self.without_own += 1;
        match excess.rules.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, count)) => *count += 1,
            None => excess.rules.push((rule, 1)),
        }
        if excess.examples.len() < EXAMPLES {
            excess.examples.push(make());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stage;

    fn reject(rule: &'static str, field: &str) -> Reject {
        Reject {
            rule,
            field: field.to_owned(),
            value: "v".to_owned(),
            bound: "b".to_owned(),
            stage: Stage::Validate,
            subject: None,
            original: 0..1,
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_one_outcome_with_counts_and_examples() {
        let (mut tally, mut outcomes) = (Tally::default(), Vec::new());
        tally.begin();
        for n in 0..1_000 {
            let rule = if n % 10 == 0 { "rare" } else { "frequent" };
            tally.reject(&mut outcomes, rule, || reject(rule, &format!("[{n}]")));
        }
        assert_eq!(outcomes.len(), EACH as usize + 1);
        let records: u64 = outcomes.iter().map(|one| u64::from(one.records())).sum();
        assert_eq!(records, 1_000);
        assert_eq!(outcomes.len() as u64 + tally.without_own, 1_000);
        let Some(Outcome::Excess(excess)) = outcomes.last() else {
            panic!("{outcomes:?}");
        };
        assert_eq!(excess.records, 984);
        assert_eq!(excess.main_rule(), "frequent");
        assert_eq!(excess.examples.len(), EXAMPLES);
        assert_eq!(excess.rules.iter().map(|(_, n)| n).sum::<u32>(), 984);
        let detail = excess.detail();
        assert!(
            detail.contains("984 more records") && detail.contains("[16]"),
            "{detail}"
        );
        // The next message begins anew.
        tally.begin();
        tally.reject(&mut outcomes, "rare", || reject("rare", ""));
        assert!(matches!(outcomes.last(), Some(Outcome::Reject(_))));
    }
}
