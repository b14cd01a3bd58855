use super::*;

fn role(part: Part, came_to: CameTo) -> Records {
    let mut records = Records::default();
    records.add(part, came_to);
    records
}

fn story() -> Stages {
    let mut records = Records::default();
    for (part, records_of, accepted, dead_lettered, held, released, waiting) in [
        (Part::Active, 100, 100, 0, 60, 60, 0),
        (Part::Terminated, 100, 80, 20, 60, 60, 0),
        (Part::Replaced, 100, 80, 20, 60, 60, 0),
        (Part::Waiting, 100, 0, 0, 100, 0, 100),
        (Part::Cancelled, 100, 0, 100, 30, 0, 0),
    ] {
        records.add(
            part,
            CameTo {
                records: records_of,
                accepted,
                dead_lettered,
                held,
                released,
                waiting,
            },
        );
    }
    Stages {
        orders: 3,
        units: 5,
        approved: 5,
        provisioned: 5,
        adopted: 1,
        recovered: 4,
        before_loss: 4,
        replaced: 1,
        without_serial: 1,
        assigned: 6,
        cancelled: 1,
        shipped: 5,
        confirmed: 5,
        waiting: 1,
        in_database: 3,
        activated: 3,
        terminated: 2,
        active: 1,
        made: 5,
        billed: 3,
        ended: 2,
        billed_again: 0,
        invalid: 0,
        records,
    }
}

#[test]
fn a_story_adds_up_and_any_other_figure_does_not() {
    let story = story();
    assert_eq!(story.wrong(), Vec::<String>::new());
    assert!(story.text().contains("all of it adds up"));
    // What is only told, and in no sum.
    let told = ["orders", "adopted"];
    let figures = serde_json::to_value(story).expect("plain");
    let changed = |path: &str| {
        let mut figures = figures.clone();
        let figure = figures.pointer_mut(path).expect("a figure");
        *figure = (figure.as_u64().expect("a count") + 1).into();
        serde_json::from_value::<Stages>(figures).expect("the same members")
    };
    for (name, value) in figures.as_object().expect("an object") {
        let paths: Vec<String> = match value.as_object() {
            None => vec![format!("/{name}")],
            Some(inner) => inner.keys().map(|key| format!("/{name}/{key}")).collect(),
        };
        for path in paths.iter().filter(|path| !told.contains(&&path[1..])) {
            let wrong = changed(path).wrong();
            assert!(!wrong.is_empty(), "one more of {path} is not noticed");
        }
    }
}

#[test]
fn a_record_of_the_wrong_device_is_noticed() {
    let accepted = CameTo {
        records: 1,
        accepted: 1,
        ..CameTo::default()
    };
    assert_eq!(role(Part::Waiting, accepted).too_early, 1);
    assert_eq!(role(Part::Cancelled, accepted).too_early, 1);
    let held = CameTo {
        records: 1,
        held: 1,
        waiting: 1,
        ..CameTo::default()
    };
    assert_eq!(role(Part::Active, held).missing, 1);
}
