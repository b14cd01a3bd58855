//! A Kafka client for metadata: asks which topics exist, and explains in the words of the settings why no broker answers.
//!
//! Owns one client, and the errors that it reported: a wrong password or an untrusted certificate authority never fails a call,
//! it only lets the call time out. It writes nothing. Blocks the calling thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::access;
use crate::poll;

/// How long one call may take before the reported errors are looked at.
const QUESTION: Duration = Duration::from_secs(1);

/// Why no broker answers, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Trouble {
    pub what: String,
    pub remedy: &'static str,
}

/// Brokers and topics by the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub brokers: usize,
    /// Partitions by topic.
    pub topics: BTreeMap<String, usize>,
}

/// The setting to check after an error with this code, if one can be named.
#[must_use]
pub fn remedy(code: RDKafkaErrorCode) -> Option<&'static str> {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => Some(
            "check kafka.sasl_username, kafka.sasl_password_file (or kafka.sasl_password) and kafka.sasl_mechanism; with tokens kafka.oauth or \
             kafka.aws",
        ),
        RDKafkaErrorCode::SSL => Some(
            "check that kafka.ca_file names the authority that signed the broker's certificate, that kafka.brokers has the \
             name in it, and that kafka.security_protocol is what that port speaks",
        ),
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            Some("grant the user Describe on the topics")
        }
        RDKafkaErrorCode::Resolve
        | RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::OperationTimedOut => Some(
            "check kafka.brokers, the network, and that kafka.security_protocol is what that port speaks",
        ),
        _ => None,
    }
}

/// Whether waiting cannot help: a person has to change something.
fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
    )
}

/// Errors that the client reported.
#[derive(Debug, Clone, Default)]
struct Complaints {
    /// The code that names the remedy: one that waiting cannot cure stays.
    gravest: Option<RDKafkaErrorCode>,
    /// The newest complaint in the client's own words.
    last: Option<String>,
}

impl Complaints {
    fn note(&mut self, code: RDKafkaErrorCode) {
        if is_final(code) || self.gravest.is_none_or(|known| !is_final(known)) {
            self.gravest = Some(code);
        }
    }
}

/// Client context that collects the errors.
#[derive(Debug, Default)]
struct ErrorCollector {
    /// A lock, because the client's own threads complain; held for an assignment.
    heard: Mutex<Complaints>,
}

impl ErrorCollector {
    fn heard(&self) -> std::sync::MutexGuard<'_, Complaints> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ErrorCollector {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka client");
        if matches!(level, RDKafkaLogLevel::Error) {
            // The text after the name of the client's thread.
            let said = message.rsplit_once("]: ").map_or(message, |(_, said)| said);
            let mut heard = self.heard();
            // A failed TLS handshake is reported only in the log; a connection cut during it names no routine.
            if said.contains("SSL routines") {
                heard.note(RDKafkaErrorCode::SSL);
            }
            heard.last = Some(said.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut heard = self.heard();
            heard.note(code);
            heard.last.get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ConsumerContext for ErrorCollector {}

/// See the module's documentation.
pub struct Asker {
    /// The Kafka client, in no group; its context collects the complaints. Dropped, it disconnects.
    client: BaseConsumer<ErrorCollector>,
}

impl Asker {
    /// Opens the client; it connects to no broker yet.
    ///
    /// # Errors
    /// Settings that the client library refuses, such as a file of authorities that cannot be read.
    pub fn open(client: &ClientConfig) -> Result<Self, Trouble> {
        let opened = access::consumer(client, ErrorCollector::default());
        let client = opened.map_err(|error| {
            let what = error.to_string();
            let remedy = if what.contains("ssl.ca.location") {
                "kafka.ca_file must name a readable file of certificates in PEM form"
            } else {
                "correct the settings in [kafka]"
            };
            Trouble { what, remedy }
        })?;
        Ok(Self { client })
    }

    /// Asks for all topics. Asking for all creates none, asking for one name might.
    ///
    /// # Errors
    /// No broker answered in time, or one refused the client; with the setting to check.
    pub fn cluster(&self, timeout: Duration) -> Result<Cluster, Trouble> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.client.fetch_metadata(None, left.min(QUESTION)) {
                Ok(metadata) => {
                    let topics = metadata.topics().iter();
                    return Ok(Cluster {
                        brokers: metadata.brokers().len(),
                        topics: topics
                            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
                            .collect(),
                    });
                }
                Err(error) => error,
            };
            // Errors come through the event queue, one at a time.
            poll::serve(&self.client, |event| {
                if let Some(code) = event.err().and_then(|error| error.rdkafka_error_code()) {
                    self.client.context().heard().note(code);
                }
            });
            let Complaints { gravest, last } = self.client.context().heard().clone();
            let hopeless = gravest.is_some_and(is_final);
            if left <= QUESTION || hopeless {
                let said = last.unwrap_or_else(|| error.to_string());
                let what = if hopeless {
                    said
                } else {
                    format!("no answer within {} s: {said}", timeout.as_secs())
                };
                let remedy = gravest
                    .or(error.rdkafka_error_code())
                    .and_then(remedy)
                    .unwrap_or("check kafka.brokers and the network");
                return Err(Trouble { what, remedy });
            }
        }
    }
}
