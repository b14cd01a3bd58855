//! `dig-ingest status` against a running operations server.

use std::process::Output;
use std::time::Instant;

use dig_ingest::ops::status::Totals;
use dig_ingest::ops::waits::Kind;
use serde_json::Value;

use super::site::{Site, TOKEN};
use crate::support::program;

async fn status(args: Vec<String>) -> Output {
    let run = move || {
        std::process::Command::new(program())
            .arg("status")
            .args(["--every-s", "1"])
            .args(args)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn texts(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[tokio::test]
async fn a_running_job_is_shown_with_its_waits_partitions_and_alarms() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::with_token(folder.path()).await;
    let slot = site.board.open(
        &dig_ingest::topic_partition::TopicPartition::new("telemetry", 7),
        Instant::now(),
    );
    let totals = Totals {
        read: 3,
        ..Totals::default()
    };
    slot.post(totals, Some(12), Instant::now());
    let _wait = site.board.wait(
        Kind::Letter,
        "dig.dead-letter",
        "the broker refuses",
        "grant Write",
    );
    let by = dig_ingest::orders::journey::Actor::Reconciler;
    let raised = site.store.note_alarm(
        "orphan-serial",
        "CX1",
        "nobody has it",
        None,
        &by,
        jiff::Timestamp::now(),
    );
    assert!(raised.await.unwrap());
    let url = site.origin();
    let mut args = texts(&["--url", &url, "--report", "json", "--set"]);
    args.push(format!("ops.page.token={TOKEN}"));
    let output = status(args).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let partition = &report["partitions"][0];
    assert_eq!(partition["topic"], "telemetry", "{report:#}");
    assert_eq!(
        (&partition["in_hand"], &partition["oldest_unsettled"]),
        (&3.into(), &12.into())
    );
    assert_eq!(report["waits"][0]["remedy"], "grant Write");
    assert_eq!(report["alarms"][0]["subject"], "CX1");
    assert!(report["rates"]["accepted"].is_number());
    let output = status(texts(&["--url", &url])).await;
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["telemetry/7", "the broker refuses", "remedy: grant Write"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    site.end().await;
}

#[tokio::test]
async fn where_nothing_listens_or_somebody_else_does_the_error_says_so() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = taken.local_addr().unwrap();
    drop(taken);
    for (args, says) in [
        (
            vec!["--url".to_owned(), format!("http://{free}")],
            "no answer",
        ),
        (
            vec!["--set".to_owned(), format!("ops.listen={free}")],
            "no answer",
        ),
        (texts(&["--url", "job:9464"]), "must begin with http://"),
        (texts(&["--set", "ops.listen=127.0.0.1:0"]), "give --url"),
    ] {
        let output = status(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(says),
            "{says}: {said}"
        );
    }
}
