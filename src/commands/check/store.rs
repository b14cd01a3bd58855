//! What the orders store says: is it there, whole, and the one that published the device registry last.

use std::time::Duration;

use super::Tried;
use crate::config::Settings;
use crate::orders::proof;
use crate::orders::registrar;
use crate::orders::store::{Error, Store};
use crate::registry::topic;

/// Asks the store; with `connect` it is compared with the registry's topic. Changes neither.
pub(super) async fn ask(settings: &Settings, connect: Option<Duration>) -> Vec<Tried> {
    if !settings.orders.enabled {
        return Vec::new();
    }
    let config = &settings.orders.store;
    let subject = "orders store";
    // A database elsewhere is asked only when it is asked for.
    if connect.is_none() && !config.url.is_empty() {
        return Vec::new();
    }
    let store = match Store::look(config).await {
        Ok(store) => store,
        Err(error @ Error::Missing(_)) => {
            let remedy = "name the store of the job, or make one with `dig-ingest orders init` if there never was one";
            return vec![Tried::bad(subject, error.to_string(), remedy)];
        }
        Err(error) => {
            let remedy = "see orders.store in the settings; a copy made by `dig-ingest orders backup FILE` can take its place";
            return vec![Tried::bad(subject, error.to_string(), remedy)];
        }
    };
    let tried = asked(&store, settings, connect).await;
    store.close().await;
    match tried {
        Ok(tried) => tried,
        Err(error) => vec![Tried::bad(
            subject,
            format!("{error:#}"),
            "see orders.store in the settings",
        )],
    }
}

async fn asked(
    store: &Store,
    settings: &Settings,
    connect: Option<Duration>,
) -> anyhow::Result<Vec<Tried>> {
    let version = store.version().await?;
    if !store.has_identity().await? {
        let found =
            format!("{version}; written by an older version, carried over by the next `run`");
        return Ok(vec![Tried::good("orders store", found)]);
    }
    let identity = store.identity().await?;
    let mut tried = vec![Tried::good(
        "orders store",
        format!(
            "{version}; store {}, generation {}, {}",
            identity.id,
            identity.generation,
            identity.proof.name()
        ),
    )];
    if let Some(timeout) = connect {
        tried.push(compared(store, settings, timeout).await?);
    }
    Ok(tried)
}

/// What a comparison would find.
async fn compared(store: &Store, settings: &Settings, timeout: Duration) -> anyhow::Result<Tried> {
    let name = settings.topics.devices.clone();
    let subject = format!("registry {name}");
    let client = settings.kafka.by_hand("devices")?;
    let read = {
        let name = name.clone();
        tokio::task::spawn_blocking(move || topic::entries(&client, &name, timeout))
    };
    let fresh = store.identity().await?.generation == 0;
    let entries = match read.await? {
        Ok(entries) => entries,
        Err(error) if fresh && settings.topics.create && error.is::<topic::Missing>() => {
            let text =
                "does not exist, and nothing was published yet; `run` creates it (topics.create)";
            return Ok(Tried::good(subject, text));
        }
        Err(error) => {
            let remedy = "if it was deleted, `run` makes it again (topics.create) and writes it from the store";
            return Ok(Tried::bad(subject, format!("{error:#}"), remedy));
        }
    };
    let own = registrar::own(store).await?;
    if let Some(doubt) = proof::judge(&own, &entries) {
        let remedy = "nothing is provisioned; `dig-ingest orders recover` shows what is known";
        return Ok(Tried::bad(subject, doubt.to_string(), remedy));
    }
    let found = proof::differences(&own, &entries);
    Ok(if found.differing.is_empty() {
        Tried::good(
            subject,
            format!(
                "{} devices; says what the store says",
                entries.devices.len()
            ),
        )
    } else {
        let text = format!(
            "{} devices are not as the store has them, such as {}",
            found.differing.len(),
            found.examples()
        );
        Tried::bad(
            subject,
            text,
            "start `run`: it writes them again; find out who else writes the topic",
        )
    })
}
