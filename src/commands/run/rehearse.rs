//! `dig-ingest run --dry-run`: prints what would be sent, per request and serial, and commits nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::commands::Report;
use crate::commands::console::{self, noteln, outln};
use crate::commands::leave;
use crate::commands::letters::choice::registry;
use crate::config::Settings;
use crate::pipeline::gate::Gate;
use crate::pipeline::queues::Limits;
use crate::pipeline::rehearsal::{self, Parts, Planned};
use crate::registry::Snapshot;

/// How long the chunk in hand may take when the command is stopped.
const LEAVE: Duration = Duration::from_secs(60);
/// Serials that are printed for one request.
const SERIALS: usize = 8;
/// Requests that are in the JSON report.
const REQUESTS: usize = 1_000;

/// Rehearses the job with these settings.
///
/// # Errors
/// The settings, a mapping or the device registry cannot be read, or the brokers do not answer.
pub(super) async fn run(settings: Settings, most: u64, report: Report) -> anyhow::Result<ExitCode> {
    let parts = Parts {
        shape: Box::new(crate::app::shapes(&settings)?),
        formats: crate::app::formats(&settings)?,
        rules: Arc::new(crate::app::rules(&settings)?),
        gate: Gate::new(settings.gate.clone()),
        devices: Snapshot::new(&registry(&settings).await?)?,
        limits: Limits {
            records: settings.batch.max_records,
            bytes: settings.batch.max_bytes,
        },
    };
    let stop = CancellationToken::new();
    leave::watch(stop.clone(), LEAVE, leave::HangUp::Drains)?;
    let rehearsed = crate::commands::letters::blocking(move || {
        let mut number = 0u64;
        let mut requests = Vec::new();
        let mut each = |planned: Planned| {
            number += 1;
            match report {
                Report::Text => outln!("{}", line(number, &planned)),
                Report::Json if requests.len() < REQUESTS => requests.push(planned),
                Report::Json => {}
            }
            if console::reader_gone() {
                stop.cancel();
            }
        };
        let input = (&settings.input, &settings.topics);
        let rehearsed = rehearsal::run(&settings.kafka, input, &parts, most, &mut each, &stop)?;
        Ok((rehearsed, requests))
    });
    let (rehearsed, requests) = rehearsed.await?;
    match report {
        Report::Json => {
            let mut value = serde_json::to_value(&rehearsed)?;
            value["first_requests"] = json!(requests);
            outln!("{value}");
        }
        Report::Text => {
            noteln!(
                "{} messages of {} partitions: {} of {} records would be sent in {} requests, {} discarded; nothing was sent or committed",
                rehearsed.messages,
                rehearsed.partitions,
                rehearsed.sent,
                rehearsed.records,
                rehearsed.requests,
                rehearsed.discarded
            );
            for (what, counts) in [
                ("dead letter", &rehearsed.dead_lettered),
                ("held", &rehearsed.held),
            ] {
                for (reason, count) in counts {
                    noteln!("  {what}: {count} {reason}");
                }
            }
            if rehearsed.stopped {
                noteln!("  ended before the ends of the partitions");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(number: u64, planned: &Planned) -> String {
    let mut serials: Vec<String> = planned
        .serials
        .iter()
        .take(SERIALS)
        .map(|(serial, records)| format!("{serial} {records}"))
        .collect();
    let more = planned.serials.len().saturating_sub(SERIALS);
    if more > 0 {
        serials.push(format!("and {more} more"));
    }
    format!(
        "request {number}: {}/{}, {} records, {} bytes, {} serials: {}",
        planned.topic,
        planned.partition,
        planned.records,
        planned.bytes,
        planned.serials.len(),
        serials.join(", ")
    )
}
