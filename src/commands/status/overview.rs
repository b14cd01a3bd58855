//! What `dig-ingest status` shows, put together from the answers of a running job. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::commands::columns::{aligned, plain};
use crate::ops::metrics::samples::Samples;

/// What a job answered at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    /// `/status`.
    pub(super) status: Value,
    /// `/metrics`.
    pub(super) samples: Samples,
    /// The standing alarms of the orders; `None` where they could not be asked.
    pub(super) alarms: Option<Vec<Value>>,
}

/// The overview; its JSON is the command's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Overview {
    url: String,
    version: String,
    up_s: u64,
    live: bool,
    ready: bool,
    /// Records per second between the two readings; `None` for a first reading.
    rates: Option<Rates>,
    gateway: Gateway,
    memory: Memory,
    partitions: Vec<Partition>,
    /// As `/status` has them.
    waits: Vec<Value>,
    /// As `/status` has them; null where the orders part does not run.
    orders: Value,
    alarms: Option<Vec<Value>>,
}

/// Records per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Rates {
    read: f64,
    accepted: f64,
    dead_lettered: f64,
    held: f64,
    discarded: f64,
    requests: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Gateway {
    /// `closed`: requests go out; `open` or `probing`: only probes do.
    circuit: Option<String>,
    concurrency_limit: Option<f64>,
    session: Option<String>,
    circuit_opened_total: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Memory {
    permits_used_bytes: Option<f64>,
    permits_total_bytes: Option<f64>,
    resident_bytes: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Partition {
    topic: String,
    partition: i64,
    /// Messages from the committed offset to the end of the log.
    lag: Option<i64>,
    in_hand: u64,
    held: u64,
    /// The offset of the oldest message that is not settled.
    oldest_unsettled: Option<i64>,
    /// Seconds since a record was settled, while records are in hand.
    unsettled_s: Option<u64>,
    pause: String,
}

const ENDS: &str = "dig_ingest_records_total";

impl Overview {
    /// `before`: an earlier reading and how long ago it was made.
    pub(super) fn of(url: &str, now: &Answers, before: Option<(&Answers, Duration)>) -> Self {
        let status = &now.status;
        let samples = &now.samples;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rates = before.map(|(before, ago)| {
            let rate = |name: &str, label: Option<(&str, &str)>| {
                let count = |of: &Answers| of.samples.sum(name, label).unwrap_or_default();
                // A job that was started anew counts from 0 again.
                (count(now) - count(before)).max(0.0) / ago.as_secs_f64().max(0.001)
            };
            let ends = |outcome: &str| rate(ENDS, Some(("outcome", outcome)));
            Rates {
                read: rate("dig_ingest_records_read_total", None),
                accepted: ends("accepted"),
                dead_lettered: ends("dead_lettered"),
                held: ends("held"),
                discarded: ends("discarded"),
                requests: rate("dig_ingest_upload_answers_total", None),
            }
        });
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let state = |name: &str| samples.state(name, "state").map(str::to_owned);
        Self {
            url: url.to_owned(),
            version: text(&status["version"]),
            up_s: status["up_s"].as_u64().unwrap_or_default(),
            live: status["live"] == true,
            ready: status["ready"] == true,
            rates,
            gateway: Gateway {
                circuit: state("dig_ingest_upload_circuit"),
                concurrency_limit: samples.sum("dig_ingest_upload_concurrency_limit", None),
                session: state("dig_ingest_auth_session"),
                circuit_opened_total: samples
                    .sum("dig_ingest_upload_circuit_opened_total", None)
                    .unwrap_or_default(),
            },
            memory: Memory {
                permits_used_bytes: samples.sum("dig_ingest_memory_permits_used_bytes", None),
                permits_total_bytes: samples.sum("dig_ingest_memory_permits_total_bytes", None),
                resident_bytes: samples.sum("dig_ingest_process_resident_bytes", None),
            },
            partitions: list(&status["partitions"]).iter().map(partition).collect(),
            waits: list(&status["waits"]),
            orders: status["orders"].clone(),
            alarms: now.alarms.clone(),
        }
    }

    /// For a terminal, at most `most` partitions: those with the most to do.
    pub(super) fn text(&self, most: usize) -> String {
        let mut out = String::new();
        let yes = |good: bool| if good { "yes" } else { "NO" };
        let _ = writeln!(
            out,
            "dig-ingest {} at {}, up {}, live {}, ready {}",
            plain(&self.version),
            plain(&self.url),
            span(self.up_s),
            yes(self.live),
            yes(self.ready)
        );
        if let Some(rates) = &self.rates {
            let _ = writeln!(
                out,
                "records/s  read {:.1}, accepted {:.1}, dead-lettered {:.1}, held {:.1}, discarded {:.1}; requests/s {:.1}",
                rates.read,
                rates.accepted,
                rates.dead_lettered,
                rates.held,
                rates.discarded,
                rates.requests
            );
        }
        let gateway = &self.gateway;
        if let Some(circuit) = &gateway.circuit {
            let limit = gateway.concurrency_limit.unwrap_or_default();
            let _ = writeln!(
                out,
                "gateway    circuit {}, opened {:.0} times; at most {limit:.0} requests at once; session {}",
                plain(circuit),
                gateway.circuit_opened_total,
                plain(gateway.session.as_deref().unwrap_or("unknown")),
            );
        }
        if let Memory {
            permits_used_bytes: Some(used),
            permits_total_bytes: Some(total),
            resident_bytes,
        } = self.memory
        {
            let _ = writeln!(
                out,
                "memory     {} of {} permits used; {} resident",
                mib(used),
                mib(total),
                mib(resident_bytes.unwrap_or_default())
            );
        }
        self.partitions(&mut out, most);
        self.waits(&mut out);
        self.orders(&mut out);
        out
    }

    fn partitions(&self, out: &mut String, most: usize) {
        if self.partitions.is_empty() {
            return;
        }
        let mut shown: Vec<&Partition> = self.partitions.iter().collect();
        if shown.len() > most {
            shown.sort_by_key(|partition| std::cmp::Reverse((partition.lag, partition.in_hand)));
            shown.truncate(most);
        }
        let or_dash =
            |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let rows = shown.iter().map(|partition| {
            [
                format!("{}/{}", partition.topic, partition.partition),
                or_dash(partition.lag),
                partition.in_hand.to_string(),
                partition.held.to_string(),
                or_dash(partition.oldest_unsettled),
                partition.unsettled_s.map_or_else(|| "-".to_owned(), span),
                partition.pause.clone(),
            ]
        });
        let header = [
            "PARTITION",
            "LAG",
            "IN HAND",
            "HELD",
            "OLDEST UNSETTLED",
            "NONE SETTLED FOR",
            "PAUSE",
        ];
        let _ = write!(out, "\n{}", aligned(header, rows));
        let left = self.partitions.len() - shown.len();
        if left > 0 {
            let _ = writeln!(
                out,
                "{left} partitions with less lag are not shown; --report json has all"
            );
        }
    }

    fn waits(&self, out: &mut String) {
        if self.waits.is_empty() {
            let _ = writeln!(out, "\nnothing waits");
            return;
        }
        let _ = writeln!(out, "\n{} waits", self.waits.len());
        for wait in &self.waits {
            let text = |key: &str| plain(wait[key].as_str().unwrap_or_default());
            let _ = writeln!(
                out,
                "  {} {} for {}: {}\n    remedy: {}",
                text("kind"),
                text("subject"),
                span(wait["seconds"].as_u64().unwrap_or_default()),
                text("cause"),
                text("remedy")
            );
        }
    }

    fn orders(&self, out: &mut String) {
        let figures = &self.orders["figures"];
        if let Some(trouble) = self.orders["trouble"].as_str() {
            let _ = writeln!(out, "\norders     the store refuses: {}", plain(trouble));
        }
        if figures.is_object() {
            let counts = |key: &str| {
                let counts = figures[key].as_object();
                let counts = counts.into_iter().flatten();
                let counts: Vec<String> = counts
                    .map(|(state, count)| format!("{count} {}", plain(state)))
                    .collect();
                match counts.is_empty() {
                    true => "none".to_owned(),
                    false => counts.join(", "),
                }
            };
            let _ = writeln!(
                out,
                "\norders     {}\nunits      {}; {} parked, {} alarms, store {}",
                counts("orders"),
                counts("units"),
                figures["parked"],
                figures["alarms"],
                plain(figures["store"]["proof"].as_str().unwrap_or("unknown"))
            );
        }
        for alarm in self.alarms.iter().flatten() {
            let text = |key: &str| plain(alarm[key].as_str().unwrap_or_default());
            let _ = writeln!(
                out,
                "  alarm {} {}: {}\n    remedy: {}",
                text("kind"),
                text("subject"),
                text("said"),
                text("remedy")
            );
        }
    }
}

fn partition(shown: &Value) -> Partition {
    let number = |value: &Value| value.as_i64();
    let position = &shown["position"];
    let in_hand = shown["in_hand"].as_u64().unwrap_or_default();
    let committed = number(&position["committed"]).or_else(|| number(&position["next"]));
    let lag = number(&position["end"]).zip(committed);
    Partition {
        topic: shown["topic"].as_str().unwrap_or_default().to_owned(),
        partition: number(&shown["partition"]).unwrap_or_default(),
        lag: lag.map(|(end, committed)| (end - committed).max(0)),
        in_hand,
        held: shown["held"]["records"].as_u64().unwrap_or_default(),
        oldest_unsettled: number(&shown["watermark"]).filter(|_| in_hand > 0),
        unsettled_s: shown["progress_s_ago"].as_u64().filter(|_| in_hand > 0),
        pause: shown["pause"].as_str().unwrap_or_default().to_owned(),
    }
}

/// A time for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers(accepted: u64) -> Answers {
        let status = json!({
            "version": "9.9.9", "up_s": 7300, "live": true, "ready": false,
            "waits": [{
                "kind": "gateway", "subject": "gateway", "seconds": 61, "cause": "the last answer was 503\u{1b}[2J",
                "remedy": "wait",
            }],
            "partitions": [{
                "topic": "telemetry", "partition": 3, "in_hand": 5, "held": { "records": 2 }, "watermark": 41,
                "position": { "next": 46, "end": 100, "committed": 40 }, "pause": "gateway", "progress_s_ago": 130,
            }],
            "orders": { "figures": { "orders": { "approved": 2 }, "units": {}, "parked": 1, "alarms": 1, "store": { "proof": "proven" } } },
        });
        let samples = Samples::read(&format!(
            "dig_ingest_records_total{{outcome=\"accepted\",topic=\"telemetry\"}} {accepted}\n\
             dig_ingest_upload_circuit{{state=\"open\"}} 1\ndig_ingest_memory_permits_used_bytes 1048576\n\
             dig_ingest_memory_permits_total_bytes 2097152\n"
        ));
        let alarm = json!({ "kind": "orphan-serial", "subject": "CX1", "said": "nobody has it", "remedy": "look" });
        Answers {
            status,
            samples,
            alarms: Some(vec![alarm]),
        }
    }

    #[test]
    fn an_overview_says_what_stands_and_what_to_do() {
        let (before, now) = (answers(100), answers(400));
        let overview = Overview::of("http://x", &now, Some((&before, Duration::from_secs(2))));
        let text = overview.text(10);
        for part in [
            "up 2 h, live yes, ready NO",
            "accepted 150.0",
            "circuit open",
            "1.0 MiB of 2.0 MiB",
            "telemetry/3  60   5        2     41                2 min             gateway",
            "gateway gateway for 61 s: the last answer was 503\\u{1b}[2J\n    remedy: wait",
            "orders     2 approved\nunits      none; 1 parked",
            "alarm orphan-serial CX1: nobody has it\n    remedy: look",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let report = serde_json::to_value(&overview).unwrap();
        assert_eq!(report["rates"]["accepted"], 150.0);
        assert_eq!(report["partitions"][0]["lag"], 60);
    }

    #[test]
    fn a_first_reading_and_an_idle_job_have_no_rates_and_nothing_unsettled() {
        let now = Answers {
            status: json!({ "partitions": [{ "topic": "t", "partition": 0, "in_hand": 0, "watermark": 4, "progress_s_ago": 9 }] }),
            ..Answers::default()
        };
        let overview = Overview::of("http://x", &now, None);
        assert_eq!(
            (overview.rates, overview.partitions[0].oldest_unsettled),
            (None, None)
        );
        assert!(overview.text(10).contains("nothing waits"));
    }
}
