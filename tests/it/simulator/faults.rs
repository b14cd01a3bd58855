//! Scripted faults, throttling, the control API and the tap.

use dig_ingest::sim::{
    self, Action, BodyKind, Config, CutAt, Delay, Keep, Loss, Operation, Poison, RetryAfter, Rule,
    Settings,
};
use serde_json::{Value, json};

use super::{BOUND, Wire, open, status};

#[tokio::test]
async fn scripted_statuses_come_as_written() {
    let (sim, wire) = open(Settings::default()).await;
    sim.faults().push(
        Rule::status(503)
            .on(Operation::Records)
            .retry_after(RetryAfter::Seconds(2))
            .times(1),
    );
    sim.faults().push(
        Rule::status(429)
            .retry_after(RetryAfter::DateIn(3))
            .times(1),
    );
    sim.faults()
        .push(Rule::status(502).body(BodyKind::Html).times(1));
    sim.faults()
        .push(Rule::status(500).body(BodyKind::Empty).with_serial("CX7"));
    let one = wire.post(&[status("A", 1)]).await;
    assert_eq!(
        (one.status, one.headers["retry-after"].to_str().unwrap()),
        (503, "2")
    );
    let two = wire.post(&[status("A", 1)]).await;
    let date = two.headers["retry-after"].to_str().unwrap();
    assert!(
        two.status == 429 && date.ends_with(" GMT") && date.len() == 29,
        "{date}"
    );
    let three = wire.post(&[status("A", 1)]).await;
    assert_eq!(
        (
            three.status,
            three.headers["content-type"].to_str().unwrap()
        ),
        (502, "text/html")
    );
    assert!(three.headers.get("retry-after").is_none() && three.text().starts_with("<html>"));
    let four = wire.post(&[status("CX7", 1)]).await;
    assert_eq!((four.status, four.body.len()), (500, 0));
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    assert_eq!(sim.counters().faults_applied, 4);
    assert_eq!(sim.ledger().len(), 1);
    sim.outage(Some(Action::Stall));
    let waiting = tokio::spawn({
        let wire = wire.clone();
        async move {
            wire.try_post(&[status("A", 2)])
                .await
                .map(|reply| reply.status)
        }
    });
    assert!(sim.until(BOUND, |counters| counters.in_flight == 1).await);
    // Whoever waits in a fault is let go when the simulator stops.
    sim.stop().await;
    let end = tokio::time::timeout(BOUND, waiting)
        .await
        .expect("the stop ends it")
        .unwrap();
    assert!(end.is_err() || end.is_ok_and(|status| status == 503));
}

#[tokio::test]
async fn cuts_take_no_effect_and_a_lost_answer_does() {
    let (sim, wire) = open(Settings::default()).await;
    for at in [CutAt::BeforeBody, CutAt::DuringBody, CutAt::AfterBody] {
        sim.faults()
            .push(Rule::cut(at).on(Operation::Records).times(1));
        assert!(wire.try_post(&[status("A", 1)]).await.is_err(), "{at:?}");
        assert!(sim.ledger().is_empty(), "{at:?}");
    }
    sim.faults().push(Rule::lose_answer(Loss::Cut).times(1));
    assert!(wire.try_post(&[status("A", 1)]).await.is_err());
    assert_eq!(sim.ledger().len(), 1);
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    let counters = sim.counters();
    assert_eq!(
        (
            counters.cut,
            counters.lost_answers,
            counters.records_duplicate
        ),
        (3, 1, 1)
    );
    assert_eq!(counters.answers[&Operation::Records][&0], 4);
    // Silence lasts until the client gives up, and is then over here too.
    sim.faults().push(Rule::lose_answer(Loss::Silence).times(1));
    let silent = tokio::spawn({
        let wire = wire.clone();
        async move {
            wire.try_post(&[status("A", 2)])
                .await
                .map(|reply| reply.status)
        }
    });
    assert!(
        sim.until(BOUND, |counters| counters.lost_answers == 2)
            .await
    );
    assert_eq!(sim.ledger().len(), 3);
    silent.abort();
    assert!(
        sim.until(BOUND, |counters| counters.abandoned == 1
            && counters.in_flight == 0)
            .await
    );
    sim.stop().await;
}

#[tokio::test]
async fn poison_refuses_its_whole_request() {
    let (sim, wire) = open(Settings::default()).await;
    let bad = status("CX1", 2);
    sim.poison(Poison::record("CX1", bad["DateTime"].as_str().unwrap()));
    assert_eq!(
        wire.post(&[status("CX1", 1), bad.clone()]).await.status,
        400
    );
    assert_eq!(
        wire.post(&[status("CX1", 1), status("CX2", 2)])
            .await
            .status,
        202
    );
    sim.poison(Poison::member("Value", "7"));
    assert_eq!(wire.post(&[status("CX3", 7)]).await.status, 400);
    assert_eq!(sim.counters().poisoned, 2);
    sim.clear_poison();
    assert_eq!(wire.post(&[bad]).await.status, 202);
    sim.stop().await;
}

#[tokio::test]
async fn throttles_above_the_cap_and_sees_serials_in_two_requests() {
    let (sim, wire) = open(Settings {
        throttle: 2,
        throttle_status: 503,
        ..Settings::default()
    })
    .await;
    // Two wait for ever; a third is one too many, and shares a serial with one of them.
    let stall = sim
        .faults()
        .push(Rule::new(Action::Stall).on(Operation::Records).times(2));
    let waiting = |serial: &'static str| {
        let wire = wire.clone();
        tokio::spawn(async move {
            wire.try_post(&[status(serial, 1)])
                .await
                .map(|reply| reply.status)
        })
    };
    let (one, two) = (waiting("A"), waiting("B"));
    assert!(
        sim.until(BOUND, |counters| counters.faults_applied == 2)
            .await
    );
    assert_eq!(sim.counters().overlapping_serials, 0);
    let refused = wire.post(&[status("B", 2), status("C", 2)]).await;
    assert_eq!(
        (
            refused.status,
            refused.headers["retry-after"].to_str().unwrap()
        ),
        (503, "60")
    );
    let counters = sim.counters();
    assert_eq!(
        (counters.overlapping_serials, counters.max_in_flight),
        (1, 3)
    );
    one.abort();
    two.abort();
    assert!(sim.until(BOUND, |counters| counters.in_flight == 0).await);
    assert!(sim.faults().remove(stall));
    assert_eq!(
        wire.post(&[status("A", 3), status("B", 3)]).await.status,
        202
    );
    assert_eq!(
        sim.counters().overlapping_serials,
        1,
        "who has gone does not count"
    );
    sim.stop().await;
}

#[tokio::test]
async fn the_control_api_does_what_the_handle_does() {
    let config = Config {
        keep: Keep::Digest,
        ..Config::default()
    };
    let sim = sim::start(config).await.unwrap();
    let mut wire = Wire::new(&sim.url());
    wire.login().await;
    let control = async |method: &str, path: &str, body: Value| {
        let reply = wire
            .call(method, &format!("/control/{path}"), body.to_string())
            .await;
        (
            reply.status,
            if reply.body.is_empty() {
                Value::Null
            } else {
                reply.json()
            },
        )
    };
    let (made, ids) = control(
        "POST",
        "faults",
        json!([{"delay": {"fixed_ms": 0}}, {"action": {"status": {"status": 500}}, "count": 1}]),
    )
    .await;
    assert_eq!((made, &ids["ids"]), (201, &json!([1, 2])));
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 500);
    assert_eq!(
        control("GET", "faults", Value::Null).await.1[1]["applied"],
        1
    );
    assert_eq!(control("DELETE", "faults/2", Value::Null).await.0, 204);
    assert_eq!(control("DELETE", "faults/2", Value::Null).await.0, 404);
    assert_eq!(
        control("POST", "faults", json!({"action": "explode"}))
            .await
            .0,
        400
    );
    assert_eq!(control("DELETE", "faults", Value::Null).await.0, 204);
    assert_eq!(
        control(
            "PUT",
            "outage",
            json!({"status": {"status": 503, "retry_after": {"seconds": 1}}})
        )
        .await
        .0,
        204
    );
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 503);
    assert_eq!(control("DELETE", "outage", Value::Null).await.0, 204);
    assert_eq!(
        control("PATCH", "settings", json!({"max_records": 1}))
            .await
            .1["max_records"],
        1
    );
    assert_eq!(
        control("PATCH", "settings", json!({"max_recrods": 1}))
            .await
            .0,
        400
    );
    assert_eq!(
        wire.post(&[status("A", 1), status("A", 2)]).await.status,
        413
    );
    assert_eq!(
        control("POST", "poison", json!({"SerialNo": "P"})).await.0,
        204
    );
    assert_eq!(wire.post(&[status("P", 1)]).await.status, 400);
    assert_eq!(
        control("GET", "poison", Value::Null).await.1,
        json!([{"SerialNo": "P"}])
    );
    assert_eq!(control("DELETE", "poison", Value::Null).await.0, 204);
    assert_eq!(
        control(
            "PUT",
            "serials",
            json!([{"prefix": "P", "state": "unknown"}])
        )
        .await
        .0,
        204
    );
    assert_eq!(
        control("PUT", "serials", json!({"state": "unknown"}))
            .await
            .0,
        400
    );
    assert_eq!(wire.post(&[status("P", 1)]).await.status, 202);
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    let digest = wire.call("GET", "/control/digest", "").await.text();
    assert_eq!(digest.lines().count(), 2);
    assert_eq!(
        serde_json::from_str::<Value>(digest.lines().next().unwrap()).unwrap()["Count"],
        1
    );
    assert_eq!(wire.call("GET", "/control/ledger", "").await.body.len(), 0);
    assert_eq!(
        control("POST", "clock", json!({"advance_ms": 60000}))
            .await
            .0,
        204
    );
    assert_eq!(
        control("POST", "tokens/block", Value::Null).await.1["bearers"],
        1
    );
    assert_eq!(wire.post(&[status("A", 2)]).await.status, 403);
    let reply = wire.tokens("refresh-token").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        control("POST", "tokens/expire?refresh=true", Value::Null)
            .await
            .1["bearers"],
        1
    );
    assert_eq!(control("POST", "reset", Value::Null).await.0, 204);
    assert_eq!(control("GET", "nothing", Value::Null).await.0, 404);
    let counters = control("GET", "counters", Value::Null).await.1;
    assert_eq!(counters["answers"]["records"]["202"], 2);
    assert_eq!(counters["records_invalid"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn the_tap_keeps_the_last_exchanges() {
    let (sim, wire) = open(Settings::default()).await;
    sim.tap(2);
    sim.faults().push(Rule::delay(Delay::UniformMs(0, 1)));
    for second in 0..3 {
        wire.post(&[status("A", second)]).await;
    }
    let kept = sim.exchanges();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (kept[1].operation, kept[1].status, kept[1].bearer),
        (Operation::Records, 202, true)
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&kept[1].request).unwrap(),
        json!([status("A", 2)])
    );
    sim.stop().await;
}
