//! What becomes of a request, outcome by outcome.

use std::collections::BTreeSet;

use dig_ingest::dig;
use dig_ingest::pipeline::request::Verdicts;
use dig_ingest::sim::{
    Action, BodyKind, CutAt, Loss, Operation, Poison, RetryAfter, Rule, Settings,
};

use super::{calls, connect_with, connected, dig_config, judge, request, simulator, text, upload};

#[tokio::test]
async fn troubles_of_every_kind_end_in_acceptance() {
    let sim = simulator(Settings::default()).await;
    let records = |rule: Rule| rule.on(Operation::Records).times(1);
    let rules = [
        records(Rule::status(503).retry_after(RetryAfter::Seconds(0))),
        records(Rule::status(429).retry_after(RetryAfter::DateIn(1))),
        records(Rule::status(503)),
        records(Rule::status(502).body(BodyKind::Html)),
        records(Rule::status(500).body(BodyKind::Empty)),
        records(Rule::status(408)),
        records(Rule::status(404).body(BodyKind::Html)),
        // A portal, a proxy or a firewall that answers in the gateway's place: nothing was taken, and no redirect takes the token along.
        records(Rule::status(200).body(BodyKind::Html)),
        records(Rule::status(202).body(BodyKind::Html)),
        records(Rule::status(301).body(BodyKind::Html)),
        records(Rule::status(307).body(BodyKind::Empty)),
        records(Rule::status(407).body(BodyKind::Html)),
        records(Rule::cut(CutAt::BeforeBody)),
        records(Rule::cut(CutAt::DuringBody)),
        records(Rule::cut(CutAt::AfterBody)),
    ];
    let count = rules.len() as u64;
    for rule in rules {
        sim.faults().push(rule);
    }
    let uploader = connected(&sim).await;
    let request = request(&["CX0000000001", "CX0000000002"], 20);
    assert_eq!(
        upload(&uploader, request.clone()).await,
        Verdicts::default()
    );
    judge(&sim, &request, &BTreeSet::new());
    assert_eq!(sim.counters().faults_applied, count);
    assert_eq!(
        sim.counters().records_duplicate,
        0,
        "none of these had taken effect"
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_lost_answer_repeats_and_never_reorders() {
    let sim = simulator(Settings::default()).await;
    sim.faults()
        .push(Rule::lose_answer(Loss::Cut).on(Operation::Records).times(2));
    sim.faults().push(
        Rule::lose_answer(Loss::Silence)
            .on(Operation::Records)
            .times(1),
    );
    let uploader = connect_with(dig::Config {
        request_timeout_s: vec![1, 60],
        ..dig_config(&sim)
    });
    let request = request(&["CX0000000001"], 30);
    assert_eq!(
        upload(&uploader, request.clone()).await,
        Verdicts::default()
    );
    judge(&sim, &request, &BTreeSet::new());
    assert_eq!(
        sim.counters().records_duplicate,
        90,
        "sent four times, as the same bytes"
    );
    assert!(uploader.status().ambiguous >= 3);
    sim.stop().await;
}

#[tokio::test]
async fn poisoned_records_are_found_with_few_requests() {
    for positions in [
        vec![0],
        vec![4_999],
        vec![2_500, 2_501, 17],
        vec![3, 999, 1_000, 1_001, 4_000],
    ] {
        let sim = simulator(Settings::default()).await;
        let serials: Vec<String> = (0..50).map(|n| format!("CX00000000{n:02}")).collect();
        let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
        let request = request(&serials, 100);
        let positions: BTreeSet<u32> = positions.into_iter().collect();
        for position in &positions {
            let record: serde_json::Value =
                serde_json::from_str(&text(&request, *position as usize)).unwrap();
            let (serial, at) = (
                record["SerialNo"].as_str().unwrap(),
                record["DateTime"].as_str().unwrap(),
            );
            sim.poison(Poison::record(serial, at));
        }
        let uploader = connected(&sim).await;
        let verdicts = upload(&uploader, request.clone()).await;
        let refused: BTreeSet<u32> = verdicts.refused.iter().map(|r| r.record).collect();
        assert_eq!(refused, positions);
        assert!(
            verdicts
                .refused
                .iter()
                .all(|r| r.status == 400 && !r.text.is_empty())
        );
        judge(&sim, &request, &positions);
        assert_eq!(sim.counters().records_duplicate, 0);
        let most = 1 + positions.len() as u64 * (13 + 3);
        let sent = calls(&sim, Operation::Records);
        assert!(
            sent <= most,
            "{sent} requests for {positions:?}, at most {most}"
        );
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_body_too_large_is_halved_and_the_limit_remembered() {
    let sim = simulator(Settings {
        max_bytes: 20_000,
        ..Settings::default()
    })
    .await;
    let uploader = connected(&sim).await;
    let serials = [
        "CX0000000001",
        "CX0000000002",
        "CX0000000003",
        "CX0000000004",
    ];
    let request = request(&serials, 250);
    assert_eq!(
        upload(&uploader, request.clone()).await,
        Verdicts::default()
    );
    judge(&sim, &request, &BTreeSet::new());
    assert!(uploader.max_bytes() <= 20_000, "{}", uploader.max_bytes());
    let refused = sim.counters().answers[&Operation::Records][&413];
    assert!(refused <= 4, "{refused}");
    sim.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let sim = simulator(Settings::default()).await;
    let moved = Action::Status {
        status: 302,
        body: BodyKind::Html,
        text: None,
        retry_after: RetryAfter::None,
    };
    sim.faults()
        .push(Rule::new(moved).on(Operation::Records).times(2));
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    assert_eq!(
        calls(&sim, Operation::Records),
        3,
        "two redirects, then the gateway itself"
    );
    sim.stop().await;
}
