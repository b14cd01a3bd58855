//! Whose trouble a failure is, and that one device's trouble holds up nobody else.

use super::*;
use crate::http::pacing::blame::{Blame, History};

/// What failed is given back with whom to blame: records only once the gateway took others since they failed before.
#[tokio::test(start_paused = true)]
async fn what_failed_is_given_back_with_whom_to_blame() {
    let (uploader, _line) = uploader(pacing::Config::default(), |numbers, _| {
        let status = if numbers.len() > 1 { 500 } else { 202 };
        (QUICK, answer(status))
    });
    let send = async |request: Request, past: Past| {
        let slot = match past.history {
            History::Fresh => uploader.slot().await,
            _ => uploader.retry_slot().await,
        };
        let stop = CancellationToken::new();
        uploader.upload(slot, request, past, &stop).await.unwrap()
    };
    let fails = request(&[1, 1, 1], 1);
    let first = send(fails.clone(), Past::default()).await.failed.unwrap();
    assert_eq!(
        (first.blame, first.from, first.until),
        (Blame::Unknown, 0, 3)
    );
    let again = Past {
        history: History::Failed { seen: first.seen },
        ..Past::default()
    };
    let second = send(fails.clone(), again).await.failed.unwrap();
    assert_eq!(second.blame, Blame::Unknown, "nothing was taken since");
    assert_eq!(
        send(request(&[1], 1), Past::default()).await,
        Verdicts::default()
    );
    let third = send(fails, again).await.failed.unwrap();
    assert_eq!((third.blame, third.status), (Blame::Records, 500));
    assert!(third.seen > first.seen && third.ambiguous);
    assert_eq!(uploader.pause(), Pause::None, "the gateway works");
}

/// A device that hangs takes no slot of the others, and all together keep to the cap.
#[tokio::test(start_paused = true)]
async fn requests_that_hang_for_one_device_hold_up_nobody_else() {
    let pacing = pacing::Config {
        concurrency_start: 2,
        concurrency_cap: 4,
        ..pacing::Config::default()
    };
    let (uploader, _line) = uploader(pacing, |numbers, _| {
        let hangs = numbers.len() > 1;
        let wait = Duration::from_secs(if hangs { 100_000 } else { 0 });
        (wait, answer(202))
    });
    upload(&uploader, request(&[1], 1)).await;
    let past = Past {
        history: History::Isolated { seen: 0 },
        ..Past::default()
    };
    let mut hanging = JoinSet::new();
    for _ in 0..5 {
        let uploader = uploader.clone();
        hanging.spawn(async move {
            let slot = uploader.retry_slot().await;
            let stop = CancellationToken::new();
            uploader.upload(slot, request(&[2], 1), past, &stop).await
        });
    }
    lapse(Duration::from_secs(1)).await;
    assert_eq!(uploader.status().pacing.out, 2, "half the cap");
    let began = Instant::now();
    for _ in 0..100 {
        upload(&uploader, request(&[1], 1)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    while let Some(ended) = hanging.join_next().await {
        let failed = ended.unwrap().unwrap().failed.unwrap();
        assert_eq!((failed.blame, failed.status), (Blame::Records, 0));
    }
}
