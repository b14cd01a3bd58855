//! Reads a ledger: NDJSON from a file or from a simulator's `GET /control/ledger`.
//!
//! A line is `{"Seq":1,...,"Record":{"SerialNo":..,"Type":..,"DateTime":..,...}}`; further members are passed over. `Seq`
//! counts the lines from 1, so that a ledger that was reset in between is noticed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::judge::Judge;
use crate::http::transport;
use crate::record::RecordType;

/// Where a ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The base URL of a simulator.
    Sim(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    seq: Option<u64>,
    #[serde(borrow)]
    record: Identity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity<'a> {
    #[serde(borrow)]
    serial_no: Cow<'a, str>,
    #[serde(borrow, rename = "Type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
}

/// Gives the lines of a ledger that `judge` has not seen yet to it. A ledger only grows.
///
/// # Errors
/// When the ledger cannot be read, or a line is not a ledger's; names the line.
pub async fn follow(source: &Source, judge: &mut Judge) -> anyhow::Result<()> {
    match source {
        Source::File(path) => {
            follow_file(path, judge).with_context(|| format!("ledger {}", path.display()))
        }
        Source::Sim(url) => follow_sim(url, judge)
            .await
            .with_context(|| format!("ledger of {url}")),
    }
}

fn follow_file(path: &Path, judge: &mut Judge) -> anyhow::Result<()> {
    let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut lines = Lines::behind(judge.lines());
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // A line that is still being written has no end yet.
        if line.pop() == Some(b'\n') {
            lines.take(&line, judge)?;
        }
    }
}

async fn follow_sim(url: &str, judge: &mut Judge) -> anyhow::Result<()> {
    let next = judge.lines() + 1;
    let address = format!("{}/control/ledger?from={next}", url.trim_end_matches('/'));
    let options = transport::Options {
        section: "verify",
        plain: url.starts_with("http://"),
        ca_file: None,
        ca_file_only: false,
        proxy: None,
        user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")),
        connect_timeout: Duration::from_secs(20),
        pool_idle: Duration::from_secs(20),
        pool_size: 1,
    };
    let client = transport::client(options, Default::default())?;
    let mut response = client.get(address).send().await?.error_for_status()?;
    let mut lines = Lines {
        number: next - 1,
        skip: 0,
    };
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let mut chunk = &chunk[..];
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            if rest.is_empty() {
                lines.take(&chunk[..end], judge)?;
            } else {
                rest.extend_from_slice(&chunk[..end]);
                lines.take(&rest, judge)?;
                rest.clear();
            }
            chunk = &chunk[end + 1..];
        }
        rest.extend_from_slice(chunk);
    }
    ensure!(rest.is_empty(), "the answer ends in the middle of a line");
    Ok(())
}

struct Lines {
    number: u64,
    skip: u64,
}

impl Lines {
    fn behind(skip: u64) -> Self {
        Self { number: 0, skip }
    }

    fn take(&mut self, line: &[u8], judge: &mut Judge) -> anyhow::Result<()> {
        self.number += 1;
        if self.number <= self.skip {
            return Ok(());
        }
        let number = self.number;
        let line: Line<'_> = serde_json::from_slice(line)
            .with_context(|| format!("line {number} is not a ledger's"))?;
        let in_place = line.seq.is_none_or(|seq| seq == number);
        ensure!(
            in_place,
            "line {number} has Seq {}; was the ledger reset or cut?",
            line.seq.unwrap_or_default()
        );
        let record = line.record;
        let time: jiff::Timestamp = record.date_time.parse().with_context(|| {
            format!(
                "line {number}: DateTime `{}` is not RFC 3339",
                record.date_time
            )
        })?;
        let kind = RecordType::ALL
            .into_iter()
            .find(|kind| kind.name() == record.kind);
        judge.arrive(&record.serial_no, kind, time.as_microsecond());
        Ok(())
    }
}
