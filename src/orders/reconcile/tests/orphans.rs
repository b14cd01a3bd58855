//! Serials that no unit has.

use super::doubts::seen;
use super::*;

fn alarms(acts: &[Action]) -> Vec<(&'static str, &str)> {
    let alarms = acts.iter().filter_map(|act| match act {
        Action::Alarm(due) => Some((due.kind, &*due.subject)),
        _ => None,
    });
    alarms.collect()
}

fn provisions(acts: &[Action]) -> bool {
    acts.iter()
        .any(|act| matches!(act, Action::Provision { .. }))
}

#[test]
fn a_serial_nobody_can_explain_is_shown_to_a_person_and_stops_its_product() {
    let mut held = held(
        order_row("PendingFulfillment"),
        vec![unit_row(1, Unit::ordered())],
    );
    held.first_listed = Some(at(0));
    held.unclaimed = vec![seen(1, 0), seen(2, 5000)];
    held.origin = Origin::CarriedOver;
    let decided = |held: &Held| decide(&View::default(), held, &config(), at(6000));
    let acts = decided(&held);
    // The one of the first listing was there before a store that is older than identities.
    assert_eq!(alarms(&acts), [("orphan-serial", "CX0000000002")]);
    assert!(!provisions(&acts));
    held.accepted = [serial(2)].into();
    let acts = decided(&held);
    assert_eq!(alarms(&acts), []);
    assert!(provisions(&acts));
    // To a store that was made it is as unknown as any.
    held.origin = Origin::Made;
    let acts = decided(&held);
    assert_eq!(alarms(&acts), [("fleet-not-accepted", "CTD-100")]);
    assert!(!provisions(&acts));
    held.accepted.insert(serial(1));
    assert!(provisions(&decided(&held)));
    held.may_provision = false;
    assert!(!provisions(&decided(&held)));
}
