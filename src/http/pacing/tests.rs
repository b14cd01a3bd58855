//! Pacing with the paused clock.

use super::*;
use crate::http::pacing::circuit::{RequestResult, most_probes};
use tokio::task::JoinSet;

fn failed() -> RequestResult {
    RequestResult::Failed {
        overload: true,
        retry_after: None,
    }
}

/// Workers that retry for ever against a gateway that fails for `outage` and then works; gives the requests sent
/// during the outage and after it.
async fn storm(config: Config, workers: usize, outage: Duration, length: Duration) -> (u64, u64) {
    let pacing = Pacing::new(config);
    let back = tokio::time::Instant::now() + outage;
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let pacing = Arc::clone(&pacing);
        tasks.spawn(async move {
            let mut sent = (0, 0);
            let _slot = pacing.slot().await;
            loop {
                let mut ticket = pacing.pass(History::Fresh).await;
                pacing.take(1, 1).await;
                if !ticket.start() {
                    continue;
                }
                let down = tokio::time::Instant::now() < back;
                // The clock is paused: this takes no real time.
                tokio::time::sleep_until(tokio::time::Instant::now() + length).await;
                if down {
                    sent.0 += 1;
                    ticket.end(failed());
                } else {
                    sent.1 += 1;
                    ticket.end(RequestResult::Good);
                    return sent;
                }
            }
        });
    }
    let mut sum = (0, 0);
    while let Some(sent) = tasks.join_next().await {
        let sent = sent.unwrap();
        sum.0 += sent.0;
        sum.1 += sent.1;
    }
    sum
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_costs_only_the_allowed_probes() {
    for cap in [1, 8, 64] {
        let config = Config {
            concurrency_start: cap,
            concurrency_cap: cap,
            ..Config::default()
        };
        let outage = Duration::from_secs(60);
        let (during, after) = storm(config.clone(), 100, outage, Duration::from_millis(20)).await;
        let before_open = u64::from(config.failures_to_open.max(cap)) + u64::from(cap);
        let most = before_open + most_probes(&config, outage);
        assert!(
            during <= most,
            "cap {cap}: {during} requests during the outage, at most {most}"
        );
        assert_eq!(after, 100, "everybody gets through afterwards");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_comes_back_and_slots_follow_the_limit() {
    let config = Config {
        concurrency_start: 4,
        concurrency_cap: 4,
        ..Config::default()
    };
    let pacing = Pacing::new(config);
    let mut slots = Vec::new();
    for _ in 0..4 {
        slots.push(pacing.slot().await);
    }
    assert_eq!(pacing.slots.available_permits(), 0);
    let mut ticket = pacing.pass(History::Fresh).await;
    assert!(ticket.start());
    tokio::time::advance(Duration::from_millis(1)).await;
    ticket.end(RequestResult::Throttled {
        retry_after: Some(Duration::from_secs(1)),
    });
    assert_eq!(pacing.status().limit, 2);
    assert_eq!(pacing.status().paused_ms, 1_000);
    slots.truncate(2);
    assert_eq!(pacing.slots.available_permits(), 0, "two slots were owed");
    slots.clear();
    assert_eq!(pacing.slots.available_permits(), 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    // Succeeding while saturated brings the slots back, one at a time.
    while pacing.status().limit < 4 {
        let mut out = Vec::new();
        for _ in 0..pacing.status().limit {
            let mut ticket = pacing.pass(History::Fresh).await;
            assert!(ticket.start());
            out.push(ticket);
        }
        for ticket in out {
            ticket.end(RequestResult::Good);
        }
    }
    assert_eq!(pacing.slots.available_permits(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_an_older_era_is_not_sent() {
    let config = Config {
        failures_to_open: 1,
        concurrency_start: 2,
        ..Config::default()
    };
    let pacing = Pacing::new(config);
    let mut first = pacing.pass(History::Fresh).await;
    let mut second = pacing.pass(History::Fresh).await;
    assert!(first.start());
    first.end(failed());
    assert!(!second.start(), "the circuit opened in between");
    drop(second);
    assert_eq!(pacing.status().out, 0);
    assert!(pacing.pass(History::Fresh).await.probe().is_some());
}

#[tokio::test(start_paused = true)]
async fn requests_that_hang_do_not_keep_probes_from_going() {
    let pacing = Pacing::new(Config {
        failures_to_open: 1,
        concurrency_start: 2,
        ..Config::default()
    });
    let mut hangs = pacing.pass(History::Fresh).await;
    let mut fails = pacing.pass(History::Fresh).await;
    assert!(hangs.start() && fails.start());
    tokio::time::advance(Duration::from_millis(1)).await;
    fails.end(failed());
    assert_eq!(pacing.status().limit, 1);
    let waited = tokio::time::timeout(Duration::from_secs(60), pacing.pass(History::Fresh)).await;
    assert!(waited.is_ok_and(|ticket| ticket.probe().is_some()));
    hangs.end(RequestResult::Good);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_leaves_nothing() {
    let pacing = Pacing::new(Config {
        concurrency_start: 1,
        ..Config::default()
    });
    let held = pacing.slot().await;
    let waiting = tokio::time::timeout(Duration::from_secs(1), pacing.slot()).await;
    assert!(waiting.is_err());
    drop(held);
    let _again = pacing.slot().await;
    let ticket = pacing.pass(History::Fresh).await;
    assert!(
        tokio::time::timeout(Duration::from_secs(1), pacing.pass(History::Fresh))
            .await
            .is_err()
    );
    drop(ticket);
    assert_eq!(pacing.status().out, 0);
    let _ticket = pacing.pass(History::Fresh).await;
}

#[test]
fn settings_out_of_bounds_are_named() {
    assert!(Config::default().check().is_ok());
    let wrong = Config {
        probes: 0,
        ..Config::default()
    };
    assert!(wrong.check().unwrap_err().to_string().contains("probes"));
    let wrong = Config {
        concurrency_cap: 1,
        concurrency_start: 4,
        ..Config::default()
    };
    assert!(wrong.check().unwrap_err().to_string().contains("cap 1"));
    let wrong = Config {
        bytes_per_s: f64::NAN,
        ..Config::default()
    };
    assert!(
        wrong
            .check()
            .unwrap_err()
            .to_string()
            .contains("bytes_per_s")
    );
}
