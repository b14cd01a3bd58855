//! Calls that change something: made once, whatever becomes of them.

use dig_ingest::myadmin::error::Why;
use dig_ingest::myadmin::wire::{Provisioning, ShipmentReport, UnitReport};
use dig_ingest::sim::market::{Script, Thrown, Turn};
use dig_ingest::sim::{CutAt, Loss};

use super::*;

fn provisionings(sim: &Handle) -> u64 {
    calls(sim, Operation::ProvisionDeviceToAccount)
}

fn next(sim: &Handle, turn: Turn) {
    sim.market(|market, _| market.script(Script::once(turn)))
        .unwrap();
}

#[tokio::test]
async fn provisioning_makes_a_device_for_the_account_it_names() {
    let sim = prompt().await;
    let client = client(&sim);
    let Provisioning::Provisioned { serial } = client.provision(&device()).await.unwrap() else {
        panic!("a device");
    };
    let listed = client.partner_devices().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|device| device.serial.clone()).collect();
    assert_eq!(listed, std::slice::from_ref(&serial));
    let account = sim.market(|market, _| market.device(&serial).unwrap().account.clone());
    assert_eq!(account, market::PARTNER);
    // Without an account it would land on our own: nothing is sent.
    let nobody = ProvisionCall {
        erp_no: " ".to_owned(),
        ..device()
    };
    let error = client.provision(&nobody).await.unwrap_err();
    assert!(matches!(error.why, Why::Unusable(_)) && !error.may_have_effects());
    assert_eq!((provisionings(&sim), made(&sim)), (1, 1));
    sim.stop().await;
}

#[tokio::test]
async fn a_provisioning_call_whose_answer_is_lost_is_never_repeated() {
    let sim = prompt().await;
    let client = Client::new(&myadmin::Config {
        provision_timeout_s: 1,
        ..config(&sim)
    })
    .unwrap();
    let thrown = Thrown::new("GenericRequestError", "The database is away.");
    let turns = [
        (Turn::LoseAnswer(Loss::Cut), true),
        (Turn::LoseAnswer(Loss::Silence), true),
        (Turn::MakeThenThrow(thrown), true),
        (Turn::Lose(Loss::Cut), false),
    ];
    let (mut asked, mut there) = (0, 0);
    for (turn, makes) in turns {
        next(&sim, turn.clone());
        let error = bounded("an end", client.provision(&device())).await;
        let error = error.unwrap_err();
        assert!(error.may_have_effects(), "P1: {turn:?}: {error}");
        (asked, there) = (asked + 1, there + usize::from(makes));
        assert_eq!(
            (provisionings(&sim), made(&sim)),
            (asked, there),
            "P1: {turn:?}"
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_provisioning_call_on_a_cut_connection_may_have_had_effects() {
    let sim = prompt().await;
    let client = client(&sim);
    sim.faults().push(
        Rule::cut(CutAt::AfterBody)
            .on(Operation::Provision)
            .times(1),
    );
    let error = client.provision(&device()).await.unwrap_err();
    assert!(error.may_have_effects(), "{error}");
    for status in [500, 502, 504] {
        let before = provisionings(&sim);
        sim.faults()
            .push(Rule::status(status).on(Operation::Provision).times(1));
        let error = client.provision(&device()).await.unwrap_err();
        assert!(error.may_have_effects(), "{error}");
        assert_eq!((provisionings(&sim) - before, made(&sim)), (1, 0), "P1");
    }
    sim.stop().await;
}

#[tokio::test]
async fn what_is_turned_away_before_it_acts_has_no_effects_and_is_still_made_once() {
    let sim = prompt().await;
    let client = client(&sim);
    client.partner_devices().await.unwrap();
    let mut asked = 0;
    // The session is over: the caller has written one call down, so a second is not the client's to make.
    sim.expire_myadmin_sessions();
    let error = client.provision(&device()).await.unwrap_err();
    assert!(
        error.session_rejected() && !error.may_have_effects(),
        "{error}"
    );
    asked += 1;
    for (name, effects) in [("SecurityException", false), ("ArgumentException", true)] {
        next(&sim, Turn::Throw(Thrown::new(name, "No.")));
        let error = client.provision(&device()).await.unwrap_err();
        assert_eq!(error.may_have_effects(), effects, "{error}");
        assert!(!error.retryable(), "{error}");
        asked += 1;
    }
    sim.faults()
        .push(Rule::status(429).on(Operation::Provision).times(1));
    let error = client.provision(&device()).await.unwrap_err();
    assert!(error.retryable() && !error.may_have_effects(), "{error}");
    asked += 1;
    assert_eq!(
        (provisionings(&sim), made(&sim), logins(&sim)),
        (asked, 0, 2)
    );
    sim.stop().await;
}

#[tokio::test]
async fn provisioning_may_be_declined_or_come_to_nothing() {
    let sim = prompt().await;
    let client = client(&sim);
    next(&sim, Turn::Decline("NoStock".to_owned()));
    let declined = Provisioning::Declined {
        error: "NoStock".to_owned(),
    };
    assert_eq!(client.provision(&device()).await, Ok(declined));
    next(&sim, Turn::Nothing);
    assert_eq!(client.provision(&device()).await, Ok(Provisioning::Nothing));
    let unknown = ProvisionCall {
        product_id: 1,
        ..device()
    };
    let answer = client.provision(&unknown).await.unwrap();
    assert!(matches!(answer, Provisioning::Declined { error } if !error.is_empty()));
    assert_eq!((provisionings(&sim), made(&sim)), (3, 0));
    // As in the vendor's sandbox: thrown by the act itself, so nothing is known of its effects.
    sim.market(|market, _| market.settings.sandbox = true);
    let error = client.provision(&device()).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Fault));
    assert!(error.may_have_effects() && !error.retryable());
    sim.stop().await;
}

#[tokio::test]
async fn an_order_is_reported_and_read_back() {
    let sim = prompt().await;
    let client = client(&sim);
    let order = ordered(&sim, 2);
    let units = client.order_units(order).await.unwrap();
    assert!(units.iter().all(|unit| unit.serial_number.is_none()));
    let mut serials = Vec::new();
    for unit in &units {
        let Provisioning::Provisioned { serial } = client.provision(&device()).await.unwrap()
        else {
            panic!("a device");
        };
        let report = UnitReport {
            serial: Some(serial.clone()),
            ..UnitReport::default()
        };
        client.report_unit(order, unit, &report).await.unwrap();
        serials.push(Some(serial));
    }
    let shown = orders(&client).await.unwrap().remove(0);
    let shipped = ShipmentReport {
        carrier: Some("Example Post".to_owned()),
        tracking: Some("T-1".to_owned()),
        status: Some("Fulfilled".to_owned()),
    };
    client.report_shipment(&shown, &shipped).await.unwrap();
    let units = client.order_units(order).await.unwrap();
    let read: Vec<_> = units.into_iter().map(|unit| unit.serial_number).collect();
    assert_eq!(read, serials);
    let now = jiff::Timestamp::now();
    let shown = client.order(&shown, now).await.unwrap().unwrap();
    assert_eq!(
        (
            shown.shipment_status.as_str(),
            shown.other_text("trackingNumber"),
            shown.other_text("CARRIER")
        ),
        ("Fulfilled", Some("T-1"), Some("Example Post"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_report_whose_answer_is_lost_is_not_repeated() {
    let sim = prompt().await;
    let client = client(&sim);
    let order = ordered(&sim, 1);
    let shown = orders(&client).await.unwrap().remove(0);
    let unit = client.order_units(order).await.unwrap().remove(0);
    let serial =
        sim.market(|market, now| market.make(PRODUCT, market::PARTNER, market::INTEGRATOR, now));
    let report = UnitReport {
        serial: Some(serial.unwrap()),
        ..UnitReport::default()
    };
    sim.faults().push(
        Rule::lose_answer(Loss::Cut)
            .on(Operation::PartnerPutUnit)
            .times(1),
    );
    let error = client.report_unit(order, &unit, &report).await.unwrap_err();
    assert!(error.may_have_effects(), "{error}");
    assert_eq!(calls(&sim, Operation::PartnerPutUnit), 1);
    let read = client.order_units(order).await.unwrap().remove(0);
    assert_eq!(
        read.serial_number, report.serial,
        "it was written all the same"
    );
    let shipped = ShipmentReport {
        tracking: Some("T-1".to_owned()),
        ..ShipmentReport::default()
    };
    sim.faults()
        .push(Rule::status(503).on(Operation::PartnerPutOrder).times(1));
    let error = client.report_shipment(&shown, &shipped).await.unwrap_err();
    assert!(error.may_have_effects(), "{error}");
    assert_eq!(calls(&sim, Operation::PartnerPutOrder), 1);
    // A session that is over was not looked at: one more call is safe.
    sim.expire_myadmin_sessions();
    client.report_shipment(&shown, &shipped).await.unwrap();
    assert_eq!(
        (calls(&sim, Operation::PartnerPutOrder), logins(&sim)),
        (3, 2)
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_write_that_is_refused_says_why() {
    let sim = prompt().await;
    let client = client(&sim);
    let order = ordered(&sim, 1);
    let unit = client.order_units(order).await.unwrap().remove(0);
    let stranger = UnitReport {
        serial: Some("CX0000000000".to_owned()),
        ..UnitReport::default()
    };
    let error = client
        .report_unit(order, &unit, &stranger)
        .await
        .unwrap_err();
    assert!(
        !error.retryable() && error.to_string().contains("CX0000000000"),
        "{error}"
    );
    assert!(matches!(error.status(), Some(404 | 409 | 422)), "{error}");
    sim.market(|market, _| market.settings.rest_writes = false);
    let error = client
        .report_unit(order, &unit, &stranger)
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(405));
    assert!(!error.may_have_effects(), "there is no such call");
    sim.stop().await;
}
