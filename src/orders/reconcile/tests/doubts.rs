//! Lost answers: adopted, or a person's to decide.

use super::*;
use crate::orders::store::intents::Wish;

fn doubtful(begun: i64) -> IntentRow {
    IntentRow {
        id: 1,
        wish: Wish {
            unit_id: "77.1".into(),
            product_code: "CTD-100".into(),
            product_id: 10032,
            prefix: "CX".into(),
            erp_no: "PART01".into(),
            listed_at: Some(at(begun - 10)),
        },
        outcome: Outcome::Open,
        begun_at: at(begun),
        closed_at: None,
        serial: None,
        evidence: None,
    }
}

pub(super) fn seen(n: u32, first: i64) -> SeenRow {
    SeenRow {
        serial: serial(n),
        product_code: "CTD-100".into(),
        owner_database: String::new(),
        first_seen: at(first),
        last_seen: at(first),
    }
}

fn doubted(unclaimed: Vec<SeenRow>, listed: i64) -> Held {
    let row = order_row("PendingFulfillment");
    Held {
        doubts: vec![doubtful(1000)],
        unclaimed,
        last_listed: Some(at(listed)),
        ..held(row, vec![unit_row(1, Unit::ordered())])
    }
}

#[test]
fn a_lost_answer_is_cleared_up_only_when_a_serial_must_have_shown() {
    // visible_after_s is 900: until 1900, and until a listing of after that, nothing is concluded and nothing called.
    for (listed, now) in [(1100, 1200), (1800, 1899), (1800, 5000)] {
        let held = doubted(vec![seen(1, 1100)], listed);
        let acts = decide(&View::default(), &held, &config(), at(now));
        assert!(acts.is_empty(), "{listed} {now}: {acts:?}");
    }
    let held = doubted(vec![seen(1, 1100)], 1950);
    let acts = decide(&View::default(), &held, &config(), at(1951));
    let [
        Action::Adopt {
            serial: adopted, ..
        },
    ] = &acts[..]
    else {
        panic!("{acts:?}");
    };
    assert_eq!(*adopted, serial(1));
}

#[test]
fn what_is_not_clear_is_a_persons_to_decide() {
    let mut other_code = seen(2, 1200);
    other_code.product_code = "CTD-999".into();
    let cases = [
        ("none", vec![]),
        ("one of before the call", vec![seen(1, 980)]),
        ("two", vec![seen(1, 1100), seen(2, 1200)]),
        ("one and an unclear one", vec![seen(1, 1100), other_code]),
    ];
    for (what, unclaimed) in cases {
        let held = doubted(unclaimed, 1950);
        let acts = decide(&View::default(), &held, &config(), at(1951));
        assert!(matches!(acts[0], Action::Doubt { .. }), "{what}: {acts:?}");
    }
    // Another call of the product is in doubt, and what it made may have shown after this one began: the serial may be its own.
    let mut rivals = doubted(vec![seen(1, 1100)], 1950);
    rivals.doubts.push(IntentRow {
        id: 2,
        outcome: Outcome::Unresolved,
        ..doubtful(500)
    });
    let acts = decide(&View::default(), &rivals, &config(), at(1951));
    assert!(matches!(acts[0], Action::Doubt { .. }), "{acts:?}");
    // What an older one made was listed before this one began: one doubt that nobody resolves does not make the next one a person's.
    for outcome in [Outcome::Unresolved, Outcome::Abandoned] {
        rivals.doubts[1] = IntentRow {
            id: 2,
            outcome,
            ..doubtful(50)
        };
        let acts = decide(&View::default(), &rivals, &config(), at(1951));
        assert!(
            matches!(acts[0], Action::Adopt { .. }),
            "{outcome:?}: {acts:?}"
        );
    }
    // An open one may still get its answer.
    rivals.doubts[1].outcome = Outcome::Open;
    rivals.doubts[1].wish.product_code = "CTD-200".into();
    let acts = decide(&View::default(), &rivals, &config(), at(1951));
    assert!(
        acts.iter().all(|act| !matches!(act, Action::Adopt { .. })),
        "{acts:?}"
    );
    // Nothing was listed before the call: nothing is new.
    let mut blind = doubted(vec![seen(1, 1100)], 1950);
    blind.doubts[0].wish.listed_at = None;
    let acts = decide(&View::default(), &blind, &config(), at(1951));
    assert!(matches!(acts[0], Action::Doubt { .. }), "{acts:?}");
}

#[test]
fn the_contracts_of_the_account_confirm_a_serial_if_the_settings_ask_it() {
    let mut config = config();
    config.provision.check_contracts = CheckContracts::Auto;
    let held = doubted(vec![seen(1, 1100)], 1950);
    let mut view = View::default();
    let acts = decide(&view, &held, &config, at(1951));
    assert!(acts.is_empty(), "not answered yet: {acts:?}");
    view.contracts.insert(1, [serial(1)].into());
    let acts = decide(&view, &held, &config, at(1951));
    assert!(matches!(acts[0], Action::Adopt { .. }), "{acts:?}");
    // Of another account, or in a database already: a person looks.
    view.contracts.insert(1, [].into());
    let acts = decide(&view, &held, &config, at(1951));
    let [Action::Doubt { evidence, .. }, ..] = &acts[..] else {
        panic!("{acts:?}");
    };
    assert!(
        evidence["why"].as_str().unwrap().contains("contracts"),
        "{evidence}"
    );
    // Two, of which one is of the account.
    let two = doubted(vec![seen(1, 1100), seen(2, 1200)], 1950);
    view.contracts.insert(1, [serial(2)].into());
    let acts = decide(&view, &two, &config, at(1951));
    assert!(
        matches!(&acts[0], Action::Adopt { serial: own, .. } if *own == serial(2)),
        "{acts:?}"
    );
    // The account may not ask for contracts: as without.
    view.contracts.clear();
    view.contracts_denied = true;
    let acts = decide(&view, &held, &config, at(1951));
    assert!(matches!(acts[0], Action::Adopt { .. }), "{acts:?}");
    // Unless the settings insist.
    config.provision.check_contracts = CheckContracts::Always;
    let acts = decide(&view, &held, &config, at(1951));
    assert!(acts.is_empty(), "{acts:?}");
    config.provision.check_contracts = CheckContracts::Auto;
    // Nothing to be asked about: as without.
    let acts = decide(&View::default(), &doubted(vec![], 1950), &config, at(1951));
    assert!(matches!(acts[0], Action::Doubt { .. }), "{acts:?}");
}
