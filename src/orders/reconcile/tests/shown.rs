//! What is shown to a person because the world is at odds with devices that are at work.

use super::*;

fn alarms(acts: &[Action]) -> Vec<(&'static str, &str)> {
    acts.iter()
        .map(|act| match act {
            Action::Alarm(Due { kind, subject, .. }) => (*kind, &**subject),
            act => panic!("{act:?}"),
        })
        .collect()
}

#[test]
fn an_active_device_that_left_its_database_is_shown_to_a_person() {
    let mut held = held(order_row("Fulfilled"), Vec::new());
    held.left = vec![("77.1".into(), seen(1, 9000))];
    let acts = decide(&View::default(), &held, &config(), at(9001));
    assert_eq!(alarms(&acts), [("left-database", "77.1")]);
}
