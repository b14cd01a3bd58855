//! The market's rules, act by act.

use super::*;
use crate::sim::faults::Loss;
use crate::sim::serials::State;

const NOW: i64 = 1_764_000_000_000_000;
const SECOND: i64 = 1_000_000;

fn market() -> Market {
    let config = Config {
        settings: Settings::prompt(),
        ..Config::default()
    };
    Market::new(&config, 7)
}

fn provision(market: &mut Market, now: i64) -> Outcome {
    market.provision(10032, Some(PARTNER), INTEGRATOR, now)
}

fn serial(market: &mut Market) -> String {
    match provision(market, NOW) {
        Outcome::Made(serial) => serial,
        other => panic!("{other:?}"),
    }
}

fn approved(market: &mut Market, cart: &Cart) -> u64 {
    let id = market.order(cart, NOW).unwrap();
    market.approve(id, NOW).unwrap();
    id
}

#[test]
fn an_order_shows_once_it_is_approved_with_a_row_per_unit() {
    let mut market = market();
    market.settings.order_lag_ms = 1000;
    let id = market
        .order(&Cart::of("CTD-100", 2).and("CABLE-1", 1), NOW)
        .unwrap();
    assert!(market.orders(&Filter::default(), NOW).is_empty());
    market.approve(id, NOW).unwrap();
    assert!(market.shown(id, NOW).is_err(), "it lags");
    let order = market.shown(id, NOW + SECOND).unwrap();
    assert_eq!(order.status, "PendingFulfillment");
    assert_ne!(order.id, order.order_header_id);
    let codes: Vec<_> = order
        .units
        .iter()
        .map(|unit| (unit.product_code.as_str(), unit.requires_serial))
        .collect();
    assert_eq!(
        codes,
        [("CTD-100", true), ("CTD-100", true), ("CABLE-1", false)]
    );
    assert!(matches!(market.approve(id, NOW), Err(Refused::Conflict(_))));
    let rejected = market.order(&Cart::of("CTD-100", 1), NOW).unwrap();
    market.reject(rejected).unwrap();
    assert_eq!(market.orders(&Filter::default(), NOW + SECOND).len(), 1);
    for wrong in [
        Cart::default(),
        Cart::of("NONE", 1),
        Cart::of("CTD-100", 1).for_account("NOBODY"),
    ] {
        assert!(market.order(&wrong, NOW).is_err(), "{wrong:?}");
    }
}

#[test]
fn filters_match_exactly() {
    let mut market = market();
    let cart = Cart {
        purchase_order_number: Some("P-7".to_owned()),
        ..Cart::of("CTD-100", 1)
    };
    let one = approved(&mut market, &cart);
    let two = market.order(&Cart::of("CTD-100", 1), NOW + SECOND).unwrap();
    market.approve(two, NOW).unwrap();
    let ids = |filter: Filter| {
        let found = market.orders(&filter, NOW + SECOND);
        found.iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        ids(Filter {
            purchase_order_number: text("P-7"),
            ..Filter::default()
        }),
        [one]
    );
    assert_eq!(
        ids(Filter {
            shipment_reference: text(&format!("SH{two}")),
            ..Filter::default()
        }),
        [two]
    );
    assert_eq!(
        ids(Filter {
            status: text("Fulfilled"),
            ..Filter::default()
        }),
        [0; 0]
    );
    assert_eq!(
        ids(Filter {
            from_us: Some(NOW + 1),
            ..Filter::default()
        }),
        [two]
    );
    assert_eq!(
        ids(Filter {
            before_us: Some(NOW + 1),
            ..Filter::default()
        }),
        [one]
    );
}

#[test]
fn what_is_reported_completes_an_order_and_the_last_write_wins() {
    let mut market = market();
    let id = approved(&mut market, &Cart::of("CTD-200", 1).and("CABLE-1", 1));
    let unit = market.get(id).unwrap().units[0].id;
    let done = Shipment::fulfilled("Post", "T1", &market.settings);
    assert!(
        matches!(market.report_shipment(id, &done, NOW), Err(Refused::Wrong(text)) if text.contains("serial number"))
    );
    let Outcome::Made(serial) = market.provision(10184, Some(PARTNER), INTEGRATOR, NOW) else {
        panic!("no script")
    };
    let mut report = UnitReport::serial(&serial);
    market.report_unit(id, unit, &report, NOW).unwrap();
    assert!(market.report_shipment(id, &done, NOW).is_err(), "no SIM");
    report.sim = Some("8944".to_owned());
    report.imei = Some("3569".to_owned());
    market.report_unit(id, unit, &report, NOW).unwrap();
    market.report_shipment(id, &done, NOW + SECOND).unwrap();
    let order = market.get(id).unwrap();
    assert_eq!(
        (order.stage, order.status.as_str(), order.fulfilled_us),
        (Stage::Fulfilled, "Fulfilled", Some(NOW + SECOND))
    );
    let corrected = Shipment {
        tracking: Some("T2".to_owned()),
        ..Shipment::default()
    };
    market.report_shipment(id, &corrected, NOW).unwrap();
    let order = market.get(id).unwrap();
    assert_eq!(
        (order.tracking.as_deref(), order.stage),
        (Some("T2"), Stage::Fulfilled)
    );
    let odd = Shipment {
        status: Some("Odd".to_owned()),
        ..Shipment::default()
    };
    assert!(matches!(
        market.report_shipment(id, &odd, NOW),
        Err(Refused::Wrong(_))
    ));
}

#[test]
fn an_order_can_fulfil_itself_when_nothing_is_missing() {
    let mut market = market();
    market.settings.fulfil_when_complete = true;
    let id = approved(&mut market, &Cart::of("CTD-100", 1));
    let shipment = Shipment {
        carrier: Some("Post".to_owned()),
        tracking: Some("T1".to_owned()),
        status: None,
    };
    market.report_shipment(id, &shipment, NOW).unwrap();
    assert_eq!(market.get(id).unwrap().stage, Stage::Approved);
    let serial = serial(&mut market);
    let unit = market.get(id).unwrap().units[0].id;
    market
        .report_unit(id, unit, &UnitReport::serial(&serial), NOW)
        .unwrap();
    assert_eq!(market.get(id).unwrap().stage, Stage::Fulfilled);
}

#[test]
fn a_unit_takes_only_a_serial_that_can_be_its_own() {
    let mut market = market();
    let id = approved(&mut market, &Cart::of("CTD-100", 2));
    let units: Vec<_> = market
        .get(id)
        .unwrap()
        .units
        .iter()
        .map(|unit| unit.id)
        .collect();
    let mine = serial(&mut market);
    let Outcome::Made(other_product) = market.provision(10184, Some(PARTNER), INTEGRATOR, NOW)
    else {
        panic!("no script")
    };
    let Outcome::Made(other_account) = market.provision(10032, None, INTEGRATOR, NOW) else {
        panic!("no script")
    };
    for wrong in [&other_product, &other_account, "CX0000000000"] {
        let refused = market.report_unit(id, units[0], &UnitReport::serial(wrong), NOW);
        assert!(matches!(refused, Err(Refused::Wrong(_))), "{wrong}");
    }
    let lower = UnitReport::serial(&mine.to_lowercase());
    market.report_unit(id, units[0], &lower, NOW).unwrap();
    market
        .report_unit(id, units[0], &UnitReport::serial(&mine), NOW)
        .unwrap();
    let twice = market.report_unit(id, units[1], &UnitReport::serial(&mine), NOW);
    assert!(matches!(twice, Err(Refused::Conflict(_))), "{twice:?}");
    assert_eq!(market.unit_of(&mine).unwrap().1.id, units[0]);
    market.settings.check_units = false;
    market
        .report_unit(id, units[1], &UnitReport::serial("ANYTHING"), NOW)
        .unwrap();
    let away = UnitReport::serial("");
    market.report_unit(id, units[1], &away, NOW).unwrap();
    assert_eq!(market.get(id).unwrap().units[1].serial, None);
}

#[test]
fn a_cancelled_order_takes_no_writes_and_may_vanish() {
    let mut market = market();
    let early = market.order(&Cart::of("CTD-100", 1), NOW).unwrap();
    market.cancel(early, NOW).unwrap();
    assert!(market.shown(early, NOW).is_err(), "it never showed");
    let id = approved(&mut market, &Cart::of("CABLE-1", 1));
    let done = Shipment::fulfilled("Post", "T1", &market.settings);
    market.report_shipment(id, &done, NOW).unwrap();
    market.cancel(id, NOW).unwrap();
    let order = market.shown(id, NOW).unwrap();
    assert!(order.returning);
    assert_eq!(order.status, "Cancelled");
    assert!(matches!(
        market.report_shipment(id, &done, NOW),
        Err(Refused::Conflict(_))
    ));
    assert!(market.cancel(id, NOW).is_err());
    market.settings.cancelled_vanish = true;
    assert!(market.shown(id, NOW).is_err());
}

#[test]
fn serials_have_the_products_prefix_and_show_after_their_lag() {
    let mut market = market();
    market.settings.visible_min_ms = 500;
    market.settings.visible_max_ms = 1500;
    let serial = serial(&mut market);
    assert_eq!((serial.len(), &serial[..2]), (12, "CX"));
    assert_eq!(market.device(&serial).unwrap().account, PARTNER);
    let lists = |market: &Market, now| {
        let partner = market.partner_devices(now).len();
        (partner, market.databases(&[&serial], now).len())
    };
    assert_eq!(lists(&market, NOW), (0, 0));
    assert_eq!(lists(&market, NOW + 1_500_000), (1, 1));
    let dashed = format!("{}-{}", serial[..2].to_lowercase(), &serial[2..]);
    assert!(market.device(&dashed).is_some());
    let Outcome::Made(own) = market.provision(10032, None, INTEGRATOR, NOW) else {
        panic!("no script")
    };
    assert_eq!(market.device(&own).unwrap().account, INTEGRATOR);
    assert_eq!(
        market.provision(999, Some(PARTNER), INTEGRATOR, NOW),
        Outcome::Declined(provision::UNKNOWN_PRODUCT.to_owned())
    );
    assert!(matches!(
        market.provision(10032, Some("NOBODY"), INTEGRATOR, NOW),
        Outcome::Thrown { made: None, .. }
    ));
}

#[test]
fn one_seed_makes_one_sequence_whatever_the_scripts() {
    let (mut one, mut two) = (market(), market());
    one.script(Script::once(Turn::Decline("no".to_owned())).at_rate(0.5))
        .unwrap();
    let mut made = Vec::new();
    for _ in 0..20 {
        if let Outcome::Made(serial) = provision(&mut one, NOW) {
            made.push(serial);
        }
    }
    assert!((1..20).contains(&made.len()));
    for serial in made {
        assert_eq!(provision(&mut two, NOW), Outcome::Made(serial));
    }
}

#[test]
fn scripted_turns_make_what_they_say() {
    let mut market = market();
    let thrown = Thrown::new("GenericRequestError", "database timeout");
    let turns = [
        (Turn::LoseAnswer(Loss::Cut), true),
        (Turn::LoseAnswer(Loss::Silence), true),
        (Turn::MakeThenThrow(thrown.clone()), true),
        (Turn::Lose(Loss::Cut), false),
        (Turn::Decline("no stock".to_owned()), false),
        (Turn::Nothing, false),
        (Turn::Throw(thrown), false),
    ];
    for (turn, makes) in turns {
        market
            .script(Script::once(turn.clone()).times(1, 1))
            .unwrap();
        let before = market.devices().len();
        assert!(provision(&mut market, NOW).made().is_some(), "skipped");
        let outcome = provision(&mut market, NOW);
        assert_eq!(outcome.made().is_some(), makes, "{turn:?}");
        assert_eq!(market.devices().len() - before, 1 + usize::from(makes));
        assert!(
            !matches!(outcome, Outcome::Made(_)),
            "{turn:?}: {outcome:?}"
        );
        assert!(
            matches!(provision(&mut market, NOW), Outcome::Made(_)),
            "spent"
        );
    }
    market
        .script(Script {
            erp_no: Some("OTHER".to_owned()),
            ..Script::once(Turn::Nothing)
        })
        .unwrap();
    assert!(matches!(provision(&mut market, NOW), Outcome::Made(_)));
    assert_eq!(market.scripts().last().unwrap().1, 0);
    market.clear_scripts();
    assert!(market.scripts().is_empty());
}

#[test]
fn sharing_alone_makes_no_owner() {
    let mut market = market();
    market.settings.database_lag_ms = 1000;
    let serial = serial(&mut market);
    market.share(&serial, "shared_db", NOW).unwrap();
    let row = |market: &Market, now| market.databases(&[serial.to_lowercase()], now)[0].clone();
    assert_eq!(row(&market, NOW).shared, [""; 0]);
    let later = row(&market, NOW + SECOND);
    assert_eq!(
        (later.owner, later.shared),
        (None, vec!["shared_db".to_owned()])
    );
    assert_eq!(
        market.judge(serial.as_bytes(), NOW).state,
        State::Unassigned
    );
    market.assign(&serial, "own_db", NOW).unwrap();
    assert_eq!(row(&market, NOW).owner, None, "it lags");
    assert_eq!(market.judge(serial.as_bytes(), NOW).state, State::Known);
    assert_eq!(row(&market, NOW + SECOND).owner.as_deref(), Some("own_db"));
    market.unassign(&serial).unwrap();
    assert!(market.unassign(&serial).is_err());
    assert_eq!(row(&market, NOW + SECOND).owner, None);
    assert!(market.databases(&["CX0000000000"], NOW).is_empty());
    market.settings.absent_rows = AbsentRows::Empty;
    assert_eq!(market.databases(&["CX0000000000"], NOW)[0].owner, None);
}

#[test]
fn a_termination_takes_effect_later_and_can_be_taken_back_until_then() {
    let mut market = market();
    market.settings.termination_delay_s = 10;
    let serial = serial(&mut market);
    market.assign(&serial, "db", NOW).unwrap();
    market
        .terminate(&serial, 1, "sold", "partner", NOW)
        .unwrap();
    assert!(market.terminate(&serial, 1, "", "partner", NOW).is_err());
    let state = |market: &Market, now| market.judge(serial.as_bytes(), now).state;
    assert_eq!(state(&market, NOW + 9 * SECOND), State::Known);
    market
        .cancel_termination(&serial, NOW + 9 * SECOND)
        .unwrap();
    assert_eq!(state(&market, NOW + 10 * SECOND), State::Known);
    market
        .terminate(&serial, 1, "sold", "partner", NOW)
        .unwrap();
    assert_eq!(state(&market, NOW + 10 * SECOND), State::Terminated);
    assert!(
        market
            .cancel_termination(&serial, NOW + 10 * SECOND)
            .is_err()
    );
    assert_eq!(market.partner_devices(NOW + 9 * SECOND).len(), 1);
    assert_eq!(market.partner_devices(NOW + 10 * SECOND).len(), 0);
    market.settings.partner_shows_terminated = true;
    assert_eq!(market.partner_devices(NOW + 10 * SECOND).len(), 1);
    market.reactivate(&serial, NOW + 11 * SECOND).unwrap();
    assert_eq!(state(&market, NOW + 11 * SECOND), State::Known);
    assert_eq!(market.device(&serial).unwrap().past.len(), 1);
}

#[test]
fn billing_starts_with_the_first_valid_record_and_resumes_after_the_end() {
    let mut market = market();
    let serial = serial(&mut market);
    let judged = |market: &Market, now| market.judge(serial.as_bytes(), now);
    assert_eq!(judged(&market, NOW).bills, None, "it is in no database");
    market.assign(&serial, "db", NOW).unwrap();
    let place = judged(&market, NOW).bills.expect("its first record");
    assert!(market.bill(place, NOW));
    assert!(!market.bill(place, NOW + 1));
    assert_eq!(judged(&market, NOW).bills, None);
    market
        .terminate(&serial, 1, "", "partner", NOW + SECOND)
        .unwrap();
    assert!(!market.device(&serial).unwrap().billed(NOW + SECOND));
    let again = judged(&market, NOW + SECOND);
    assert_eq!((again.state, again.bills), (State::Terminated, Some(place)));
    assert!(market.bill(place, NOW + 2 * SECOND));
    let device = market.device(&serial).unwrap();
    assert_eq!(
        device.billing,
        Billing {
            started_us: Some(NOW),
            resumed_us: Some(NOW + 2 * SECOND),
            resumptions: 1
        }
    );
    assert!(device.billed(NOW + 2 * SECOND));
    let counts = market.counts(NOW + 2 * SECOND);
    assert_eq!(
        (
            counts.billing_started,
            counts.billing_resumed,
            counts.terminated
        ),
        (1, 1, 1)
    );
}

#[test]
fn the_sheet_is_published_once_a_day_and_keeps_its_window() {
    const DAY: i64 = 86_400 * SECOND;
    let mut market = market();
    market.settings.sheet_days = 2;
    let serial = serial(&mut market);
    let midnight = NOW.div_euclid(DAY) * DAY;
    let noon = midnight + DAY / 2;
    market.terminate(&serial, 2, "", "partner", noon).unwrap();
    let header = "Serial Number,Termination Date,Account,Reason\r\n";
    assert_eq!(market.sheet(noon), header, "today's was published before");
    let tomorrow = midnight + DAY + 6 * 3600 * SECOND;
    assert_eq!(market.sheet(tomorrow - 1), header);
    let day = jiff::Timestamp::from_microsecond(noon)
        .unwrap()
        .strftime("%Y-%m-%d");
    let row = format!("{serial},{day},PART01,Vehicle sold\r\n");
    assert_eq!(market.sheet(tomorrow), format!("{header}{row}"));
    assert_eq!(
        market.sheet(tomorrow + 3 * DAY),
        header,
        "out of its window"
    );
    market.reactivate(&serial, tomorrow).unwrap();
    assert_eq!(
        market.sheet(tomorrow),
        format!("{header}{row}"),
        "it happened"
    );
    market.settings.sheet_columns = vec![Column {
        name: "SN; no.".to_owned(),
        field: SheetField::Serial,
    }];
    market.settings.sheet_delimiter = ';';
    assert_eq!(
        market.sheet(tomorrow),
        format!("\"SN; no.\"\r\n{serial}\r\n")
    );
    for (spoiled, sheet) in [
        (Spoiled::Blank, String::new()),
        (Spoiled::HeaderOnly, "\"SN; no.\"\r\n".to_owned()),
        (Spoiled::Halved, "\"SN; no.\"\r\n".to_owned()),
        (Spoiled::NoHeader, format!("{serial}\r\n")),
    ] {
        market.settings.sheet_spoiled = spoiled;
        assert_eq!(market.sheet(tomorrow), sheet, "{spoiled:?}");
    }
    market.settings.sheet_spoiled = Spoiled::Html;
    assert!(market.sheet(tomorrow).starts_with("<!DOCTYPE"));
}

#[test]
fn users_keep_their_key_and_never_show_their_password() {
    let mut market = market();
    let user = market.user("PARTNER@example.com").unwrap().clone();
    assert!(!format!("{user:?}").contains(PASSWORD));
    assert!(!serde_json::to_string(&user).unwrap().contains(PASSWORD));
    market.put_user(User {
        password: "other".to_owned(),
        ..user.clone()
    });
    assert_eq!(market.user(&user.name).unwrap().id, user.id);
    assert!(!user.id.is_nil());
    assert!(
        market
            .put_product(Product {
                product_code: "X".to_owned(),
                product_id: Some(1),
                prefix: "TOO".to_owned(),
                requires_serial: true,
                requires_sim: false,
                requires_imei: false,
                attribute: None,
            })
            .is_err()
    );
}

#[test]
fn a_device_of_before_our_time_may_send_and_is_nobody_s_product() {
    let mut market = market();
    market
        .admit("CX0123456789", "CTD-100", "old_db", NOW)
        .unwrap();
    assert_eq!(market.judge(b"CX0123456789", NOW).state, State::Known);
    let ours = market.partner_devices_of(Some(INTEGRATOR), NOW + SECOND);
    assert!(ours.is_empty(), "{ours:?}");
    let again = market.admit("CX0123456789", "CTD-100", "old_db", NOW);
    assert!(matches!(again, Err(Refused::Conflict(_))));
    let cable = market.admit("CX0123456780", "CABLE-1", "old_db", NOW);
    assert!(matches!(cable, Err(Refused::Missing { .. })));
}

#[test]
fn a_reset_market_is_as_new() {
    let mut market = market();
    let first = serial(&mut market);
    approved(&mut market, &Cart::of("CTD-100", 1));
    market.reset();
    assert_eq!(market.counts(NOW), Counts::default());
    assert_eq!(serial(&mut market), first);
}
