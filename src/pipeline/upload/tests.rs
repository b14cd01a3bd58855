//! The upload against a scripted line: paused clock, no sockets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::*;
use crate::http::pacing::circuit::most_probes;
use crate::http::retry::Backoff;
use crate::pipeline::request::Span;
use crate::pipeline::split::tests::request;

mod blame;

/// What one attempt comes to: after a while, an answer or none.
type Reply = (Duration, Result<Answer, Failure>);
type Script = Box<dyn FnMut(&[u32], Instant) -> Reply + Send>;

/// A gateway of the test's making: it sees bodies as the numbers in them.
struct Scripted {
    script: Mutex<Script>,
    /// Every attempt: its numbers, its timeout, its token.
    seen: Mutex<Vec<(Vec<u32>, Duration, u64)>>,
    generation: AtomicU64,
}

impl GatewayTransport for Arc<Scripted> {
    async fn token(&self) -> Result<Token, Closed> {
        Ok(Token::of_generation(
            self.generation.load(Ordering::Relaxed),
        ))
    }

    async fn post(&self, body: Bytes, token: &Token, timeout: Duration) -> Result<Answer, Failure> {
        let numbers: Vec<u32> = serde_json::from_slice(&body).unwrap();
        let (after, reply) = (self.script.lock().unwrap())(&numbers, Instant::now());
        self.seen
            .lock()
            .unwrap()
            .push((numbers, timeout, token.generation()));
        if after > timeout {
            lapse(timeout).await;
            return Err(Failure::Timeout("test".into()));
        }
        lapse(after).await;
        reply
    }

    fn rejected(&self, token: &Token) {
        self.generation
            .fetch_max(token.generation() + 1, Ordering::Relaxed);
    }

    fn proven(&self, _token: &Token) {}

    fn status(&self) -> dig::session::Status {
        dig::session::Status {
            state: "ready",
            generation: 1,
            detail: String::new(),
        }
    }
}

/// Lets the paused clock run on; takes no real time.
async fn lapse(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}

const QUICK: Duration = Duration::from_millis(10);

fn answer(status: u16) -> Result<Answer, Failure> {
    Ok(Answer {
        status,
        retry_after: None,
        text: format!("text of {status}"),
        tracking_id: None,
    })
}

fn uploader(
    pacing: pacing::Config,
    script: impl FnMut(&[u32], Instant) -> Reply + Send + 'static,
) -> (Uploader<Arc<Scripted>>, Arc<Scripted>) {
    let line = Arc::new(Scripted {
        script: Mutex::new(Box::new(script)),
        seen: Mutex::default(),
        generation: AtomicU64::new(1),
    });
    let uploader = Uploader::new(
        Arc::clone(&line),
        dig::Config::default(),
        pacing,
        Config::default(),
        4 << 20,
    );
    (uploader, line)
}

/// Answers in turn, then 202.
fn in_turn(replies: Vec<Reply>) -> impl FnMut(&[u32], Instant) -> Reply + Send {
    let mut replies = replies.into_iter();
    move |_, _| replies.next().unwrap_or((QUICK, answer(202)))
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
async fn upload(uploader: &Uploader<Arc<Scripted>>, mut request: Request) -> Verdicts {
    let (mut all, mut before, mut past) = (Verdicts::default(), 0, Past::default());
    let config = Config::default().pauses();
    let mut backoff = Backoff::new(config.retry, config.retry_max);
    loop {
        let slot = uploader.slot().await;
        let stop = CancellationToken::new();
        let upload = uploader.upload(slot, request.clone(), past, &stop);
        let Verdicts { refused, failed } = upload.await.unwrap();
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
        if uploader.flowing() {
            let pause = backoff.next(&mut rand::rng());
            lapse(pause).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_retried_goes_again_with_the_same_bytes() {
    let late = Duration::from_secs(3_600);
    let troubles = vec![
        (QUICK, answer(503)),
        (QUICK, answer(429)),
        (QUICK, answer(500)),
        (late, answer(202)),
        (late, answer(202)),
        (late, answer(202)),
        (late, answer(202)),
        (QUICK, Err(Failure::Connect("refused".into()))),
        (QUICK, Err(Failure::Cut("reset".into()))),
        (QUICK, answer(408)),
        (QUICK, answer(401)),
        (QUICK, answer(403)),
        (QUICK, answer(404)),
    ];
    let count = troubles.len();
    // An open circuit would send parts instead; here only the same bytes matter.
    let pacing = pacing::Config {
        probe_records: 5_000,
        ..pacing::Config::default()
    };
    let (uploader, line) = uploader(pacing, in_turn(troubles));
    assert_eq!(
        upload(&uploader, request(&[2, 3], 3)).await,
        Verdicts::default()
    );
    let seen = line.seen.lock().unwrap();
    assert_eq!(seen.len(), count + 1);
    assert!(
        seen.iter()
            .all(|(numbers, _, _)| numbers == &[0, 1, 2, 3, 4])
    );
    let timeouts: Vec<u64> = seen[3..8]
        .iter()
        .map(|(_, timeout, _)| timeout.as_secs())
        .collect();
    assert_eq!(timeouts, [30, 30, 30, 60, 120], "longer after each silence");
    assert_eq!(
        seen.iter().map(|(_, _, token)| *token).max(),
        Some(3),
        "401 and 403 brought new tokens"
    );
    let status = uploader.status();
    assert_eq!((status.accepted, status.refused), (5, 0));
    assert_eq!(status.ambiguous, 7, "500, four silences, a cut and 408");
}

/// U-b: for the limiters a retry is a request like any other, also one that waits for nothing else.
#[tokio::test(start_paused = true)]
async fn retries_count_against_the_rates() {
    let pacing = pacing::Config {
        requests_per_s: 2.0,
        ..pacing::Config::default()
    };
    let rejections = (0..40).map(|_| (QUICK, answer(401))).collect();
    let (uploader, line) = uploader(pacing, in_turn(rejections));
    let began = Instant::now();
    assert_eq!(
        upload(&uploader, request(&[1], 1)).await,
        Verdicts::default()
    );
    let attempts = line.seen.lock().unwrap().len();
    assert_eq!(attempts, 41);
    // Two at once, then two per second.
    let least = Duration::from_secs((attempts as u64 - 2) / 2);
    assert!(
        began.elapsed() >= least,
        "{attempts} attempts within {:?}, two per second allowed",
        began.elapsed()
    );
}

/// No second sees more than its share: a request holds at most one second's worth of records and bytes.
#[tokio::test(start_paused = true)]
async fn a_request_holds_at_most_one_seconds_worth() {
    let sent: Arc<Mutex<Vec<(Duration, usize)>>> = Arc::default();
    for (records_per_s, bytes_per_s, most) in [(1_000.0, 0.0, 1_000), (0.0, 10_240.0, 930)] {
        sent.lock().unwrap().clear();
        let pacing = pacing::Config {
            records_per_s,
            bytes_per_s,
            ..pacing::Config::default()
        };
        let (began, seen) = (Instant::now(), Arc::clone(&sent));
        let (uploader, _line) = uploader(pacing, move |numbers, now| {
            seen.lock().unwrap().push((now - began, numbers.len()));
            (Duration::ZERO, answer(202))
        });
        uploader.set_share(1, 1);
        upload(&uploader, request(&[50; 100], 10)).await;
        let sent = sent.lock().unwrap();
        assert_eq!(
            sent.iter().map(|(_, records)| records).sum::<usize>(),
            5_000
        );
        assert!(sent.iter().all(|(_, records)| *records <= most), "{sent:?}");
        // One second's worth is there at the start; then each second brings as much again.
        let mut before = 0;
        for (at, records) in sent.iter() {
            before += records;
            let allowed = most as f64 * (1.0 + at.as_secs_f64()) + 1.0;
            assert!(before as f64 <= allowed, "{before} records within {at:?}");
        }
        uploader.set_share(1, 2);
        assert!(uploader.max_records() <= 500 || records_per_s == 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_by_every_worker() {
    let start = Instant::now();
    let asked = Duration::from_secs(100);
    let (uploader, line) = uploader(pacing::Config::default(), move |numbers, now| {
        if now == start {
            let Ok(mut answer) = answer(429) else {
                unreachable!()
            };
            answer.retry_after = Some(asked);
            return (QUICK, Ok(answer));
        }
        assert!(
            now >= start + asked,
            "a worker sent {} records during the pause",
            numbers.len()
        );
        (QUICK, answer(202))
    });
    let first = upload(&uploader, request(&[1], 1));
    let second = async {
        lapse(QUICK * 2).await;
        assert_eq!(uploader.pause(), Pause::Gateway);
        upload(&uploader, request(&[1], 1)).await
    };
    tokio::join!(first, second);
    assert_eq!(line.seen.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_costs_small_probes_and_loses_nothing() {
    let outage = Duration::from_secs(60);
    let back = Instant::now() + outage;
    let pacing = pacing::Config {
        concurrency_start: 8,
        ..pacing::Config::default()
    };
    let settings = pacing.clone();
    let (uploader, line) = uploader(pacing, move |_, now| {
        (QUICK, answer(if now < back { 503 } else { 202 }))
    });
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let uploader = uploader.clone();
        tasks.spawn(async move { upload(&uploader, request(&[50, 50], 3)).await });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), Verdicts::default());
    }
    assert_eq!(uploader.status().accepted, 2_000);
    let seen = line.seen.lock().unwrap();
    let during = seen.len() as u64
        - seen
            .iter()
            .rev()
            .scan(0, |sum, (numbers, _, _)| {
                *sum += numbers.len();
                (*sum <= 2_000).then_some(())
            })
            .count() as u64;
    let most = u64::from(settings.failures_to_open + settings.concurrency_cap)
        + most_probes(&settings, outage);
    assert!(
        during <= most,
        "{during} requests during the outage, at most {most} allowed"
    );
    // What opened the circuit was whole; what came after it until the gateway was back was small.
    let probes = &seen
        [settings.concurrency_cap as usize + settings.failures_to_open as usize..during as usize];
    assert!(!probes.is_empty());
    assert!(
        probes
            .iter()
            .all(|(numbers, _, _)| numbers.len() <= settings.probe_records as usize)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_never_a_refusal() {
    for status in [401, 403] {
        let (uploader, line) = uploader(pacing::Config::default(), move |_, _| {
            (QUICK, answer(status))
        });
        let stop = CancellationToken::new();
        let slot = uploader.slot().await;
        let upload = uploader.upload(slot, request(&[3], 1), Past::default(), &stop);
        let ended = tokio::join!(upload, async {
            lapse(Duration::from_secs(60)).await;
            stop.cancel();
        });
        assert_eq!(
            ended.0,
            Err(Abandoned {
                may_have_effects: false
            })
        );
        assert_eq!(uploader.status().refused, 0);
        assert!(
            line.generation.load(Ordering::Relaxed) > 10,
            "a new token each time"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_address_pauses_with_an_alarm_and_loses_nothing() {
    let mended = Instant::now() + Duration::from_secs(3_600);
    let (uploader, line) = uploader(pacing::Config::default(), move |_, now| {
        (QUICK, answer(if now < mended { 404 } else { 202 }))
    });
    let verdicts = tokio::join!(upload(&uploader, request(&[40], 2)), async {
        lapse(Duration::from_secs(30)).await;
        assert_eq!(uploader.pause(), Pause::Alarm);
        assert_eq!(uploader.status().last_trouble.unwrap().0, 404);
    });
    assert_eq!(verdicts.0, Verdicts::default());
    assert_eq!(uploader.status().accepted, 40);
    assert!(
        line.seen.lock().unwrap().len() <= 61 + 3,
        "about one probe a minute"
    );
    assert_eq!(uploader.pause(), Pause::None);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_everything_shows_at_once() {
    let (uploader, _line) = uploader(pacing::Config::default(), |_, _| (QUICK, answer(400)));
    let stop = CancellationToken::new();
    let slot = uploader.slot().await;
    let ended = tokio::join!(
        uploader.upload(slot, request(&[5; 1_000], 4), Past::default(), &stop),
        async {
            while uploader.status().refused < 20 {
                lapse(QUICK).await;
            }
            assert!(uploader.status().refused_in_a_row >= 20);
            stop.cancel();
        }
    );
    assert_eq!(
        ended.0,
        Err(Abandoned {
            may_have_effects: false
        }),
        "long before the request is done"
    );
}

#[tokio::test(start_paused = true)]
async fn a_byte_limit_is_learnt_and_forgotten() {
    let limit = 10_000;
    let (uploader, line) = uploader(pacing::Config::default(), move |numbers, _| {
        (
            QUICK,
            answer(if numbers.len() * 11 + 1 > limit {
                413
            } else {
                202
            }),
        )
    });
    assert_eq!(
        upload(&uploader, request(&[10; 200], 10)).await,
        Verdicts::default()
    );
    // Half of the first body holds 99 whole batches, which were still too many.
    assert_eq!(uploader.max_bytes(), (990usize * 11).div_ceil(2));
    let before = line.seen.lock().unwrap().len();
    upload(&uploader, request(&[10; 20], 10)).await;
    assert_eq!(
        line.seen.lock().unwrap().len(),
        before + 1,
        "what fits is sent whole"
    );
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(uploader.max_bytes(), 4 << 20);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_the_attempt_in_flight_and_starts_no_other() {
    let slow = Duration::from_secs(5);
    for (status, expected) in [
        (202, Ok(0)),
        (503, Ok(1)),
        (
            429,
            Err(Abandoned {
                may_have_effects: false,
            }),
        ),
    ] {
        let (uploader, line) = uploader(pacing::Config::default(), move |_, _| {
            (slow, answer(status))
        });
        let stop = CancellationToken::new();
        let slot = uploader.slot().await;
        let upload = uploader.upload(slot, request(&[3], 1), Past::default(), &stop);
        let ended = tokio::join!(upload, async {
            lapse(slow / 2).await;
            stop.cancel();
        });
        let given_back = |verdicts: Verdicts| verdicts.failed.iter().count();
        assert_eq!(ended.0.map(given_back), expected);
        assert_eq!(line.seen.lock().unwrap().len(), 1);
    }
    let (uploader, line) = uploader(pacing::Config::default(), |_, _| (QUICK, answer(202)));
    let stop = CancellationToken::new();
    stop.cancel();
    let slot = uploader.slot().await;
    assert!(
        uploader
            .upload(slot, request(&[3], 1), Past::default(), &stop)
            .await
            .is_err()
    );
    assert!(line.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_upload_gives_its_slot_and_its_place_back() {
    let one = pacing::Config {
        concurrency_start: 1,
        concurrency_cap: 1,
        ..pacing::Config::default()
    };
    let (uploader, _line) = uploader(one, in_turn(vec![(Duration::from_secs(20), answer(202))]));
    let dropped =
        tokio::time::timeout(Duration::from_secs(1), upload(&uploader, request(&[1], 1))).await;
    assert!(dropped.is_err());
    assert_eq!(
        upload(&uploader, request(&[1], 1)).await,
        Verdicts::default()
    );
    assert_eq!(uploader.status().pacing.out, 0);
}

/// Random troubles, poison and lost answers, several workers: every record gets its one right verdict, first arrivals
/// of a request are in order, and only ambiguous attempts repeat a record.
async fn storm(seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let poison: BTreeSet<u32> = (0..dice.random_range(0..6))
        .map(|_| dice.random_range(0..200))
        .collect();
    let taken: Arc<Mutex<Vec<u32>>> = Arc::default();
    let (seen, bad) = (Arc::clone(&taken), poison.clone());
    let limit = dice.random_range(20..400);
    let trouble = dice.random_range(0.0..0.7);
    let (uploader, _line) = uploader(pacing::Config::default(), move |numbers, _| {
        let wait = Duration::from_millis(dice.random_range(0..2_000));
        let kind = if dice.random_bool(trouble) {
            dice.random_range(0..9)
        } else {
            9
        };
        let well = if numbers.len() > limit {
            413
        } else if numbers.iter().any(|n| bad.contains(n)) {
            400
        } else {
            202
        };
        // Kinds 0 to 2 take effect, and nobody learns it.
        if well == 202 && matches!(kind, 0..=2 | 9) {
            seen.lock().unwrap().extend(numbers);
        }
        match kind {
            0 => (wait, Err(Failure::Cut("lost".into()))),
            1 => (Duration::from_secs(100_000), answer(202)),
            2 => (wait, answer(502)),
            3 => (wait, answer(503)),
            4 => (wait, answer(429)),
            5 => (wait, answer(401)),
            6 => (wait, answer(404)),
            7 => (wait, answer(500)),
            8 => (wait, Err(Failure::Connect("refused".into()))),
            _ => (wait, answer(well)),
        }
    });
    let verdicts = upload(&uploader, request(&[20; 10], 4)).await;
    let refused: Vec<u32> = verdicts.refused.iter().map(|r| r.record).collect();
    assert_eq!(
        refused,
        poison.iter().copied().collect::<Vec<_>>(),
        "seed {seed}"
    );
    let mut known = BTreeSet::new();
    let firsts: Vec<u32> = taken
        .lock()
        .unwrap()
        .iter()
        .copied()
        .filter(|n| known.insert(*n))
        .collect();
    let expected: Vec<u32> = (0..200).filter(|n| !poison.contains(n)).collect();
    assert_eq!(firsts, expected, "seed {seed}: all, once first, in order");
    assert_eq!(uploader.status().pacing.out, 0, "seed {seed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn s1_nothing_is_lost_or_reordered_under_any_trouble(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(storm(seed));
    }
}
