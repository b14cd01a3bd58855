//! The gateway's client against the simulator: tokens, outcomes, splits, feedback.
//!
//! Nothing here measures time: what takes time is waited for with a bound.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dig_ingest::config::secret::Secret;
use dig_ingest::dig::{self, Closed};
use dig_ingest::http::pacing;
use dig_ingest::pipeline::feedback;
use dig_ingest::pipeline::isolation::Past;
use dig_ingest::pipeline::request::{Request, Span, Verdicts};
use dig_ingest::pipeline::upload::{self, Uploader};
use dig_ingest::sim::{self, Account, Handle, Loss, Operation, Rule, Settings, State};
use tokio_util::sync::CancellationToken;

mod outcomes;

/// A bound on a hang, never a measure.
const PATIENCE: Duration = Duration::from_secs(120);

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("given up after {PATIENCE:?}: {what}"))
}

async fn simulator(settings: Settings) -> Handle {
    let settings = Settings {
        auth_per_minute: 0,
        revoke_delay_ms: 0,
        ..settings
    };
    let account = Some(Account {
        username: "user@example.com".into(),
        password: "correct horse".into(),
    });
    sim::start(sim::Config {
        account,
        settings,
        ..sim::Config::default()
    })
    .await
    .unwrap()
}

fn dig_config(sim: &Handle) -> dig::Config {
    dig::Config {
        url: sim.url(),
        username: "user@example.com".into(),
        password: Secret::new("correct horse"),
        auth_calls_per_minute: 1e9,
        denied_probe_ms: 20,
        denied_probe_max_ms: 50,
        ..dig::Config::default()
    }
}

fn pacing_config() -> pacing::Config {
    pacing::Config {
        probe_interval_ms: 20,
        probe_interval_max_ms: 50,
        throttle_pause_ms: 20,
        misconfigured_pause_ms: 20,
        ..pacing::Config::default()
    }
}

fn connect_with(dig: dig::Config) -> Uploader {
    let config = upload::Config {
        backoff_ms: 5,
        backoff_max_ms: 20,
        ..upload::Config::default()
    };
    Uploader::connect(dig, pacing_config(), config, 4 << 20).unwrap()
}

async fn connected(sim: &Handle) -> Uploader {
    connect_with(dig_config(sim))
}

/// `per` records for each serial, at strictly increasing instants of today.
fn request(serials: &[&str], per: usize) -> Request {
    let day = jiff::Timestamp::now().to_string()[..10].to_owned();
    let (mut body, mut records, mut batches) = (vec![b'['], Vec::new(), Vec::new());
    for serial in serials {
        batches.push(records.len() as u32);
        for n in 0..per {
            if !records.is_empty() {
                body.push(b',');
            }
            let start = body.len() as u32;
            let record = format!(
                r#"{{"Type":"GenericStatusRecord","DateTime":"{day}T00:00:00.{n:06}Z","SerialNo":"{serial}","Code":5,"Value":{n}}}"#
            );
            body.extend_from_slice(record.as_bytes());
            records.push(Span {
                start,
                end: body.len() as u32,
            });
        }
    }
    body.push(b']');
    Request {
        body: body.into(),
        records,
        batches,
    }
}

fn text(request: &Request, record: usize) -> String {
    let span = request.records[record];
    String::from_utf8(request.body[span.start as usize..span.end as usize].to_vec()).unwrap()
}

/// What is left of a request from a record on.
fn rest(request: &Request, from: u32) -> Request {
    let left = &request.records[from as usize..];
    let (start, end) = (left[0].start, left[left.len() - 1].end);
    let body = [b"[", &request.body[start as usize..end as usize], b"]"].concat();
    let records = left.iter().map(|span| Span {
        start: span.start - start + 1,
        end: span.end - start + 1,
    });
    let batches = request.batches.iter().filter(|batch| **batch > from);
    Request {
        body: body.into(),
        records: records.collect(),
        batches: std::iter::once(0)
            .chain(batches.map(|batch| batch - from))
            .collect(),
    }
}

/// Uploads, and sends again what failed, as it is.
async fn upload(uploader: &Uploader, mut request: Request) -> Verdicts {
    let (mut all, mut before, mut past) = (Verdicts::default(), 0, Past::default());
    loop {
        let slot = bounded("a slot", uploader.slot()).await;
        let stop = CancellationToken::new();
        let upload = uploader.upload(slot, request.clone(), past, &stop);
        let Verdicts { refused, failed } = bounded("an upload", upload).await.unwrap();
        all.refused.extend(refused.into_iter().map(|mut refused| {
            refused.record += before;
            refused
        }));
        let Some(failed) = failed else { return all };
        before += failed.from;
        request = rest(&request, failed.from);
        past = Past {
            silent: failed.silent,
            sent: Some(failed.ambiguous),
            ..Past::default()
        };
    }
}

fn calls(sim: &Handle, operation: Operation) -> u64 {
    sim.counters()
        .requests
        .get(&operation)
        .copied()
        .unwrap_or(0)
}

/// Lost = reordered = 0 in the ledger, for the records that should be there.
fn judge(sim: &Handle, request: &Request, refused: &BTreeSet<u32>) {
    let mut known = BTreeSet::new();
    let firsts: Vec<String> = sim
        .ledger()
        .into_iter()
        .map(|line| line.record)
        .filter(|r| known.insert(r.clone()))
        .collect();
    let expected: Vec<String> = (0..request.records.len() as u32)
        .filter(|record| !refused.contains(record))
        .map(|record| text(request, record as usize))
        .collect();
    assert_eq!(firsts, expected);
    assert_eq!(sim.counters().inversions, 0);
}

#[tokio::test]
async fn a_clean_request_is_one_post_and_close_revokes() {
    let sim = simulator(Settings::default()).await;
    let uploader = connected(&sim).await;
    let request = request(&["CX0000000001", "CX0000000002"], 50);
    assert_eq!(
        upload(&uploader, request.clone()).await,
        Verdicts::default()
    );
    judge(&sim, &request, &BTreeSet::new());
    assert_eq!(calls(&sim, Operation::Records), 1);
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (1, 0)
    );
    bounded("closing", uploader.close()).await;
    assert_eq!(calls(&sim, Operation::RevokeToken), 1);
    assert_eq!(uploader.gateway().session.token().await.err(), Some(Closed));
    sim.stop().await;
}

#[tokio::test]
async fn concurrent_rejections_cause_one_refresh() {
    let sim = simulator(Settings::default()).await;
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000000"], 1)).await;
    sim.expire_all_tokens(false);
    let serials: Vec<String> = (1..=8).map(|n| format!("CX000000000{n}")).collect();
    let uploads = serials
        .iter()
        .map(|serial| upload(&uploader, request(&[serial], 10)));
    futures_util::future::join_all(uploads).await;
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (1, 1)
    );
    assert_eq!(sim.counters().records_new, 81);
    sim.stop().await;
}

#[tokio::test]
async fn many_reports_of_one_token_cause_one_refresh() {
    let sim = simulator(Settings::default()).await;
    let uploader = connected(&sim).await;
    let session = &uploader.gateway().session;
    let first = bounded("a token", session.token()).await.unwrap();
    session.proven(&first);
    for _ in 0..100 {
        session.rejected(&first);
    }
    let second = bounded("a token", session.token()).await.unwrap();
    session.rejected(&first);
    assert_eq!(second.generation(), first.generation() + 1);
    assert_eq!(
        bounded("the same", session.token())
            .await
            .unwrap()
            .generation(),
        second.generation()
    );
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (1, 1)
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_used_or_expired_refresh_token_leads_to_a_login() {
    let sim = simulator(Settings::default()).await;
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    // Bearer blocked and refresh token spent: refresh answers 403 (used before).
    sim.revoke_all_tokens();
    upload(&uploader, request(&["CX0000000002"], 1)).await;
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (2, 1)
    );
    // Both expired: refresh answers 401.
    sim.expire_all_tokens(true);
    upload(&uploader, request(&["CX0000000003"], 1)).await;
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (3, 2)
    );
    assert_eq!(sim.counters().records_new, 3);
    sim.stop().await;
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_is_not_repeated() {
    let sim = simulator(Settings::default()).await;
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    sim.expire_all_tokens(false);
    sim.faults().push(
        Rule::lose_answer(Loss::Cut)
            .on(Operation::RefreshToken)
            .times(1),
    );
    upload(&uploader, request(&["CX0000000002"], 1)).await;
    assert_eq!(
        (
            calls(&sim, Operation::Authenticate),
            calls(&sim, Operation::RefreshToken)
        ),
        (2, 1)
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    // Half of two seconds is the wait; nothing here depends on how long it takes.
    let sim = simulator(Settings {
        bearer_s: 2,
        refresh_s: 60,
        ..Settings::default()
    })
    .await;
    let uploader = connected(&sim).await;
    let seen = sim
        .until(PATIENCE, |now| {
            now.requests.get(&Operation::RefreshToken).copied() >= Some(2)
        })
        .await;
    assert!(seen, "refreshed by itself");
    assert_eq!(calls(&sim, Operation::Authenticate), 1);
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    sim.stop().await;
}

#[tokio::test]
async fn zoneless_token_times_are_understood() {
    let sim = simulator(Settings {
        zoneless_token_times: true,
        ..Settings::default()
    })
    .await;
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    assert_eq!(calls(&sim, Operation::RefreshToken), 0);
    sim.stop().await;
}

#[tokio::test]
async fn wrong_credentials_wait_for_the_right_ones() {
    let sim = simulator(Settings::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "wrong\n").unwrap();
    let config = dig::Config {
        password: Secret::default(),
        password_file: Some(path.clone()),
        ..dig_config(&sim)
    };
    let uploader = connect_with(config);
    let tried = sim
        .until(PATIENCE, |now| {
            now.requests.get(&Operation::Authenticate).copied() >= Some(2)
        })
        .await;
    assert!(tried);
    assert_eq!(uploader.status().session.state, "refused");
    assert!(!format!("{:?}", uploader.status()).contains("wrong"), "C1");
    assert_eq!(calls(&sim, Operation::Records), 0);
    std::fs::write(&path, "correct horse\n").unwrap();
    upload(&uploader, request(&["CX0000000001"], 1)).await;
    assert_eq!(uploader.status().session.state, "ready");
    sim.stop().await;
}

#[tokio::test]
async fn a_fresh_login_that_is_rejected_is_an_alarm_and_never_a_refusal() {
    let sim = simulator(Settings::default()).await;
    let rule = sim.faults().push(Rule::status(403).on(Operation::Records));
    let uploader = connected(&sim).await;
    let request = request(&["CX0000000001"], 3);
    let done = tokio::join!(upload(&uploader, request.clone()), async {
        assert!(
            sim.until(PATIENCE, |now| now
                .requests
                .get(&Operation::Authenticate)
                .copied()
                >= Some(3))
                .await
        );
        assert_eq!(
            calls(&sim, Operation::RefreshToken),
            0,
            "a fresh token is not refreshed"
        );
        sim.faults().remove(rule);
    });
    assert_eq!(done.0, Verdicts::default());
    judge(&sim, &request, &BTreeSet::new());
    sim.stop().await;
}

#[tokio::test]
async fn invalid_records_are_handed_on_once_each() {
    let sim = simulator(Settings {
        invalid_delay_min_ms: 0,
        invalid_delay_max_ms: 0,
        ..Settings::default()
    })
    .await;
    sim.mark_serial("CX0000000009", State::Terminated);
    let uploader = connected(&sim).await;
    upload(&uploader, request(&["CX0000000001", "CX0000000009"], 25)).await;
    type Kept = (Vec<serde_json::Value>, Option<i64>, u32);
    let kept: Arc<Mutex<Kept>> = Arc::default();
    let poll = |stop: &CancellationToken| {
        let config = feedback::Config {
            poll_ms: 100,
            page: 10,
            ..feedback::Config::default()
        };
        let (load, sink) = (Arc::clone(&kept), Arc::clone(&kept));
        let load = move || {
            let key = load.lock().unwrap().1;
            async move { Ok(key) }
        };
        let sink = move |items: Arc<[dig::page::Invalid]>, key| {
            let sink = Arc::clone(&sink);
            async move {
                let mut kept = sink.lock().unwrap();
                kept.2 += 1;
                // The first page is not taken the first time.
                anyhow::ensure!(kept.2 > 1, "the sink is not ready");
                kept.0.extend(
                    items
                        .iter()
                        .map(|item| serde_json::from_str(&item.record).expect("JSON")),
                );
                kept.1 = key;
                Ok(())
            }
        };
        tokio::spawn(feedback::run(
            uploader.gateway().clone(),
            config,
            load,
            sink,
            stop.clone(),
        ))
    };
    let stop = CancellationToken::new();
    let task = poll(&stop);
    let before = calls(&sim, Operation::InvalidRecords);
    assert!(
        sim.until(PATIENCE, |now| now
            .requests
            .get(&Operation::InvalidRecords)
            .copied()
            >= Some(before + 8))
            .await
    );
    stop.cancel();
    bounded("the poller", task).await.unwrap().unwrap();
    assert_eq!(
        kept.lock().unwrap().0.len(),
        25,
        "each once, over several pages"
    );
    let distinct: BTreeSet<String> = kept
        .lock()
        .unwrap()
        .0
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(distinct.len(), 25);
    // A restart begins where the kept cursor is.
    upload(&uploader, request(&["CX0000000009"], 26)).await;
    let stop = CancellationToken::new();
    let task = poll(&stop);
    let before = calls(&sim, Operation::InvalidRecords);
    sim.expire_all_tokens(false);
    assert!(
        sim.until(PATIENCE, |now| now
            .requests
            .get(&Operation::InvalidRecords)
            .copied()
            >= Some(before + 5))
            .await
    );
    stop.cancel();
    bounded("the poller", task).await.unwrap().unwrap();
    let count = kept.lock().unwrap().0.len();
    assert!((26..=52).contains(&count), "{count}");
    sim.stop().await;
}
