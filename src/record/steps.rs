//! The members of a record type as they are checked: one step each, found by its member.
//!
//! Owns the order of the checks, which is that of [`Member`]. Compiled once from the table and the settings; pure.

use super::members::{self, Member};
use super::rules::{Form, RuleNo};

/// One member of a type, ready to be checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub member: Member,
    pub form: Form,
    pub absent: Option<RuleNo>,
    /// The member's limits are `limits[from..to]`.
    pub from: u16,
    pub to: u16,
}

/// The members of a type, ready to be checked.
#[derive(Debug)]
pub(super) struct Steps {
    /// In the order of the table, which is that of [`Member`].
    pub list: Vec<Step>,
    /// All of them, and those whose absence breaks a rule; sets of [`Member::bit`].
    pub members: u64,
    pub required: u64,
    /// By member: its place in the list.
    places: [u8; members::COUNT],
}

impl Steps {
    pub fn new(list: Vec<Step>) -> Self {
        let (mut all, mut required, mut places) = (0, 0, [u8::MAX; members::COUNT]);
        for (place, step) in list.iter().enumerate() {
            all |= step.member.bit();
            if step.absent.is_some() {
                required |= step.member.bit();
            }
            places[step.member as usize] = place as u8;
        }
        Self {
            list,
            members: all,
            required,
            places,
        }
    }

    /// The check of the member with this number.
    #[inline]
    pub fn of(&self, member: usize) -> Option<&Step> {
        self.list.get(usize::from(*self.places.get(member)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordType;
    use super::super::validate::Rules;
    use super::*;

    #[test]
    fn steps_are_in_the_order_of_members() {
        let rules = Rules::default();
        for (number, kind) in RecordType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            let steps = rules.steps(kind);
            assert!(
                steps.list.is_sorted_by(|a, b| a.member < b.member),
                "{kind:?}"
            );
            for step in &steps.list {
                let found = steps.of(step.member as usize).map(|found| found.member);
                assert_eq!(found, Some(step.member), "{kind:?}");
            }
            assert!(steps.of(members::COUNT).is_none());
            assert!(steps.of(Member::Type as usize).is_none(), "{kind:?}");
        }
    }
}
