//! Rejoining after a static member was fenced: waits until no other member holds its `kafka.instance_id`.
//!
//! A static member is fenced when the group knows a newer member of its name. That member is either this instance itself (its
//! requests were repeated while the broker was away), or another process with the same name. The first stops sending heartbeats
//! when the fenced client is closed, so the group removes it within a session timeout; the second stays.
//!
//! * The instance does not join while the name is held: two processes of one name would fence each other without end.
//! * Only consecutive answers of the group count: while no broker answers, nothing is decided.
//!
//! Owns one client for the questions. It writes nothing. Cancelled, it leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio_util::sync::CancellationToken;

use super::kafka;
use crate::access;
use crate::ops::waits::Wait;

/// Between two questions to the group.
const ASK: Duration = Duration::from_millis(500);
/// How long one question may take.
const CALL: Duration = Duration::from_secs(5);
/// Time beyond a session timeout before the holder of the name counts as alive.
const MARGIN: Duration = Duration::from_secs(10);

/// The member that holds the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub client_id: String,
    pub host: String,
}

/// How the waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The name is free: join again.
    Free,
    /// Another live member holds the name.
    Held(Holder),
    /// The job is to end.
    Stopped,
}

/// The group's answers so far.
#[derive(Debug)]
struct Patience {
    /// How long a member without heartbeats is kept.
    session: Duration,
    /// Since when every answer has named a holder.
    held_since: Option<Instant>,
}

impl Patience {
    /// Takes one answer of the group: the holder of the name, if there is one. `None`: not decided.
    fn answered(&mut self, holder: Option<Holder>, now: Instant) -> Option<Ended> {
        let Some(holder) = holder else {
            return Some(Ended::Free);
        };
        let since = *self.held_since.get_or_insert(now);
        (now.saturating_duration_since(since) > self.session).then_some(Ended::Held(holder))
    }

    /// No broker answered: sessions begin anew when a coordinator comes back, so the count begins anew too.
    fn unanswered(&mut self) {
        self.held_since = None;
    }
}

/// Whether a member id belongs to a static name: the broker makes the id of the name and a random UUID.
fn is_of(member_id: &str, instance_id: &str) -> bool {
    member_id
        .strip_prefix(instance_id)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|uuid| {
            uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        })
}

/// Waits until the name is free, a live holder is found, or `stop`.
///
/// # Errors
/// Settings that the client refuses.
pub async fn until_free(
    kafka: &kafka::Config,
    wait: &Wait,
    stop: &CancellationToken,
) -> anyhow::Result<Ended> {
    let client = access::plain_consumer(&kafka.plain()?)
        .context("cannot open a client that asks for the group")?;
    let client = Arc::new(client);
    let session = Duration::from_millis(kafka.session_timeout_ms.into());
    let mut patience = Patience {
        session: session + session / 4 + MARGIN,
        held_since: None,
    };
    loop {
        let (asking, kafka) = (Arc::clone(&client), kafka.clone());
        let asked = tokio::task::spawn_blocking(move || holder(&asking, &kafka));
        let answer = tokio::select! {
            answer = asked => answer.context("asking for the group failed")?,
            () = stop.cancelled() => return Ok(Ended::Stopped),
        };
        match answer {
            Ok(holder) => {
                let shown = holder.clone();
                if let Some(ended) = patience.answered(holder, Instant::now()) {
                    return Ok(ended);
                }
                if let Some(Holder { client_id, host }) = shown {
                    wait.update(format!(
                        "the group still has a member of this kafka.instance_id, client {client_id} at {host}; \
                         it is this instance's own past if it leaves within a session"
                    ));
                }
            }
            Err(error) => {
                wait.update(format!("the group cannot be asked: {error:#}"));
                patience.unanswered();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ASK) => {}
            () = stop.cancelled() => return Ok(Ended::Stopped),
        }
    }
}

/// The member of the group that has the name. Blocks the calling thread.
fn holder(client: &BaseConsumer, kafka: &kafka::Config) -> anyhow::Result<Option<Holder>> {
    access::upkeep(client.client());
    let all = client
        .fetch_group_list(Some(&kafka.group), CALL)
        .with_context(|| format!("no answer about group {}", kafka.group))?;
    let Some(group) = all
        .groups()
        .iter()
        .find(|group| group.name() == kafka.group)
    else {
        return Ok(None);
    };
    // A group that could not be described has no state.
    anyhow::ensure!(!group.state().is_empty(), "the group is not described");
    let member = group
        .members()
        .iter()
        .find(|member| is_of(member.id(), &kafka.instance_id));
    Ok(member.map(|member| Holder {
        client_id: member.client_id().to_owned(),
        host: member.client_host().trim_start_matches('/').to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(10);

    fn held() -> Option<Holder> {
        Some(Holder {
            client_id: "dig-ingest".to_owned(),
            host: "192.0.2.7".to_owned(),
        })
    }

    #[test]
    fn a_name_is_held_only_if_a_member_outlives_a_session_of_answers() {
        let start = Instant::now();
        let mut patience = Patience {
            session: SESSION,
            held_since: None,
        };
        let mut at = |seconds: u64, answer: Result<Option<Holder>, ()>| {
            let now = start + Duration::from_secs(seconds);
            match answer {
                Ok(holder) => patience.answered(holder, now),
                Err(()) => {
                    patience.unanswered();
                    None
                }
            }
        };
        assert_eq!(at(0, Ok(held())), None);
        assert_eq!(at(9, Ok(held())), None);
        // The broker was away: what it remembers gets a whole session anew.
        assert_eq!(at(10, Err(())), None);
        assert_eq!(at(15, Ok(held())), None);
        assert_eq!(at(25, Ok(held())), None);
        assert_eq!(at(26, Ok(held())), Some(Ended::Held(held().expect("one"))));
        assert_eq!(at(27, Ok(None)), Some(Ended::Free));
    }

    #[test]
    fn a_member_is_known_by_the_name_in_its_id() {
        let uuid = "9b2f0c1e-8f5a-4a50-8a55-0f6b5a1de111";
        assert!(is_of(&format!("one-{uuid}"), "one"));
        assert!(!is_of(&format!("one-two-{uuid}"), "one"));
        assert!(is_of(&format!("one-two-{uuid}"), "one-two"));
        assert!(!is_of(&format!("one{uuid}"), "one"));
        assert!(!is_of("one-", "one"));
    }
}
