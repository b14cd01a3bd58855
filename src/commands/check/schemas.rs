//! Whether the formats of topics can be read: schema files, and with `--connect` the schema registry.

use std::time::Duration;

use super::Tried;
use crate::config::Settings;
use crate::formats::client::{Client, Refusal};
use crate::formats::{Formats, schemas};

const REMEDY: &str = "correct input.formats, the schema file, or [schema_registry]";

/// Opens the formats, and asks the schema registry if there is a timeout for it.
pub(super) async fn ask(settings: &Settings, timeout: Option<Duration>) -> Vec<Tried> {
    let topics = &settings.input.formats;
    if topics.is_empty() {
        return Vec::new();
    }
    let formats = match Formats::open(topics, &settings.schema_registry) {
        Ok(formats) => formats,
        Err(error) => return vec![Tried::bad("formats", format!("{error:#}"), REMEDY)],
    };
    let mut tried: Vec<Tried> = topics
        .iter()
        .map(|(topic, format)| Tried::good(format!("format of {topic}"), format.format.name()))
        .collect();
    let (Some(timeout), true) = (timeout, formats.views().next().is_some()) else {
        return tried;
    };
    let mut config = settings.schema_registry.clone();
    config.request_timeout_s = config.request_timeout_s.min(timeout.as_secs().max(1));
    let client = match Client::new(&config) {
        Ok(client) => client,
        Err(error) => {
            tried.push(Tried::bad("schema registry", format!("{error:#}"), REMEDY));
            return tried;
        }
    };
    let mut any = false;
    for (address, answer) in client.servers().await {
        let subject = format!("schema registry {address}");
        any |= answer.is_ok();
        tried.push(match answer {
            Ok(()) => Tried::good(subject, "answers"),
            Err(trouble) => Tried::bad(subject, trouble.cause, trouble.remedy),
        });
    }
    if !any {
        return tried;
    }
    for (topic, view) in formats.views() {
        let name = format!("{topic}-value");
        let subject = format!("schema of {topic}");
        tried.push(match client.newest(&name).await {
            Ok((id, source)) => match schemas::compile(&source, view) {
                Ok(_) => Tried::good(
                    subject,
                    format!("subject {name} has id {id}, and it can be read"),
                ),
                Err(fault) => Tried::bad(
                    subject,
                    format!(
                        "subject {name} has id {id}: {}; expected {}",
                        fault.value, fault.bound
                    ),
                    "correct input.formats, or the schema; its messages would become letters",
                ),
            },
            // Producers may name their subjects otherwise.
            Err(Refusal::Unknown(_)) => Tried::good(
                subject,
                format!("there is no subject {name}; messages name their schema by its id"),
            ),
            Err(Refusal::Unfit(why)) => Tried::bad(
                subject,
                format!("subject {name}: {why}"),
                "correct the schema; its messages would become letters",
            ),
            Err(Refusal::Away(trouble)) => Tried::bad(subject, trouble.cause, trouble.remedy),
        });
    }
    tried
}
