//! The recorder behind `/metrics`: one per process, with the bounds of every histogram set here and nowhere else.
//!
//! Histograms are told apart by the unit their name ends in. Labels come from small fixed sets (outcome, reason,
//! topic, partition): never a serial, a device or a text of the server.

use std::sync::OnceLock;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{help, process};

/// Seconds: from a local answer to a long retry.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Records, and batches of them: up to the most one request may hold.
const RECORDS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0,
];
/// Bytes: from one record to the largest body.
const BYTES: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

static INSTALLED: OnceLock<Result<Exposition, String>> = OnceLock::new();

/// What `/metrics` says.
#[derive(Debug, Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// The text format of Prometheus, as of now.
    pub fn render(&self) -> String {
        process::sample();
        self.0.render()
    }

    /// Folds what histograms collected since the last time; to be called now and then.
    pub fn fold(&self) {
        self.0.run_upkeep();
    }
}

/// Starts counting for the whole process; further calls give the same.
///
/// # Errors
/// Another recorder was installed by somebody else.
pub fn install() -> anyhow::Result<Exposition> {
    INSTALLED
        .get_or_init(|| first().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn first() -> anyhow::Result<Exposition> {
    let recorder = builder()?.build_recorder();
    let exposition = Exposition(recorder.handle());
    metrics::set_global_recorder(recorder).context("metrics are recorded by somebody else")?;
    help::describe();
    process::start();
    Ok(exposition)
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), RECORDS))
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES))
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_batches".to_owned()), RECORDS))
        .context("histogram bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets_by_their_unit() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("dig_ingest_x_seconds").record(0.2)
        });
        assert!(
            handle
                .render()
                .contains("dig_ingest_x_seconds_bucket{le=\"0.25\"} 1"),
            "{}",
            handle.render()
        );
    }

    #[test]
    fn every_family_has_its_help_and_no_histogram_is_a_summary() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            help::describe();
            for (kind, name, _) in help::HELP {
                match *kind {
                    "counter" => metrics::counter!(*name).increment(1),
                    "gauge" => metrics::gauge!(*name).set(1.0),
                    _ => metrics::histogram!(*name).record(1.0),
                }
            }
        });
        let page = handle.render();
        for (kind, name, help) in help::HELP {
            assert!(page.contains(&format!("# HELP {name} {help}\n")), "{name}");
            assert!(
                page.contains(&format!("# TYPE {name} {kind}\n")),
                "{name} is no {kind}"
            );
        }
    }

    #[test]
    fn the_process_tells_its_version_memory_and_time() {
        let exposition = install().unwrap();
        install().unwrap();
        let page = exposition.render();
        for name in [
            "build_version",
            "process_start_time_seconds",
            "process_cpu_seconds",
        ] {
            assert!(
                page.contains(&format!("dig_ingest_{name}")),
                "{name} is not in\n{page}"
            );
        }
    }
}
