//! The Kafka client's settings, and how they become librdkafka properties.
//!
//! Owns `[kafka]` and the properties the pipeline depends on; a pass-through property that would break an invariant is refused
//! by name. It opens no connection.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::{Deserialize, Serialize};

use crate::access::{self, Identity};
use crate::config::secret::{Properties, Secret};

/// Settings (`[kafka]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bootstrap servers, host:port, comma separated.
    pub brokers: String,
    /// Consumer group id; the same for all instances of one job.
    pub group: String,
    /// Client id: the name of the job in the broker's logs and quotas.
    pub client_id: String,
    /// Static membership id (`group.instance.id`), unique per instance and the same after a restart. Empty: dynamic membership.
    pub instance_id: String,
    /// Security protocol: `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// SASL mechanism: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` (settings in `kafka.oauth`) or `AWS_MSK_IAM` (settings
    /// in `kafka.aws`).
    pub sasl_mechanism: String,
    pub sasl_username: String,
    pub sasl_password: Secret,
    /// File with the SASL password, read again when it changes: connections made after that use the new password. Empty: none.
    pub sasl_password_file: String,
    pub oauth: access::OAuth,
    pub aws: access::msk::Config,
    /// PEM file of the trusted certificate authorities, in place of the system's. Empty: the system's.
    pub ca_file: String,
    /// Session timeout of the consumer group in milliseconds (3000 or more, above `input.drain_ms`): after this time without a heartbeat
    /// the group reassigns the partitions of this instance.
    pub session_timeout_ms: u32,
    /// Interval in milliseconds between two commits of the consumer offsets.
    pub commit_interval_ms: u32,
    /// Prefetch buffer per partition in KiB; counted by the memory formula.
    pub prefetch_kib_per_partition: u32,
    /// Interval in milliseconds between two statistics of the Kafka client, which hold the consumer lag.
    pub statistics_interval_ms: u32,
    /// Metadata refresh interval in milliseconds (1000 to 3600000): the time within which added and deleted topics and partitions are
    /// noticed.
    pub metadata_refresh_ms: u32,
    /// Further librdkafka properties, for consumer and producer alike.
    pub properties: Properties,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            group: "dig-ingest".to_owned(),
            client_id: "dig-ingest".to_owned(),
            instance_id: String::new(),
            security_protocol: "plaintext".to_owned(),
            sasl_mechanism: "SCRAM-SHA-512".to_owned(),
            sasl_username: String::new(),
            sasl_password: Secret::default(),
            sasl_password_file: String::new(),
            oauth: access::OAuth::default(),
            aws: access::msk::Config::default(),
            ca_file: String::new(),
            session_timeout_ms: 45_000,
            commit_interval_ms: 1_000,
            prefetch_kib_per_partition: 2_048,
            statistics_interval_ms: 15_000,
            metadata_refresh_ms: 30_000,
            properties: Properties::default(),
        }
    }
}

/// Properties that hold an invariant or have a setting of their own: `(name, why)`.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
    ("group.instance.id", "set kafka.instance_id"),
    ("client.id", "set kafka.client_id"),
    (
        "group.protocol",
        "the job drains on revoke by the classic protocol",
    ),
    (
        "partition.assignment.strategy",
        "the job relies on cooperative-sticky",
    ),
    (
        "enable.auto.commit",
        "stored offsets are committed by the client's timer",
    ),
    (
        "enable.auto.offset.store",
        "an offset is stored only when every record below it is settled (O1)",
    ),
    ("auto.commit.interval.ms", "set kafka.commit_interval_ms"),
    ("auto.offset.reset", "anything but earliest skips records"),
    (
        "enable.partition.eof",
        "an end-of-partition event moves the client's position past the next message, which a rebalance then skips",
    ),
    ("session.timeout.ms", "set kafka.session_timeout_ms"),
    ("statistics.interval.ms", "set kafka.statistics_interval_ms"),
    (
        "queued.max.messages.kbytes",
        "set kafka.prefetch_kib_per_partition",
    ),
    ("security.protocol", "set kafka.security_protocol"),
    ("sasl.mechanism", "set kafka.sasl_mechanism"),
    ("sasl.mechanisms", "set kafka.sasl_mechanism"),
    ("sasl.username", "set kafka.sasl_username"),
    ("sasl.password", "set kafka.sasl_password_file"),
    ("sasl.oauthbearer.config", "set kafka.oauth or kafka.aws"),
    (
        "sasl.oauthbearer.method",
        "tokens are fetched by this program: set kafka.oauth",
    ),
    ("ssl.ca.location", "set kafka.ca_file"),
    ("enable.idempotence", "letters must keep their order (S1)"),
    ("acks", "a letter is written only when every replica has it"),
    ("message.timeout.ms", "a letter is never given up"),
    ("delivery.timeout.ms", "a letter is never given up"),
];

/// Bearer tokens of an OIDC identity provider.
const OAUTH: &str = "OAUTHBEARER";
/// Bearer tokens made of AWS credentials; on the wire they are those of `OAUTHBEARER`.
const MSK: &str = "AWS_MSK_IAM";

/// The property behind `kafka.metadata_refresh_ms`.
const METADATA_REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// The largest value of the client's `message.max.bytes`.
const LARGEST_RECORD: u32 = 1_000_000_000;
/// KiB that a manually assigned consumer prefetches; part of the memory formula.
const BY_HAND_KIB: u64 = 1024;

/// A pass-through property the pipeline cannot allow, or a setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("kafka.properties: \"{name}\" may not be set: {why}")]
    Conflict { name: String, why: &'static str },
    /// The value is not shown: it may be a secret under a mistyped name.
    #[error(
        "kafka.properties: \"{name}\" {problem}; see the client library's list of properties (librdkafka, CONFIGURATION.md)"
    )]
    Property { name: String, problem: &'static str },
    #[error("kafka.{field}: {problem}")]
    Field {
        field: &'static str,
        problem: String,
    },
    /// A field of `[kafka.oauth]` or `[kafka.aws]`.
    #[error("kafka.{field}: {problem}")]
    Inner { field: String, problem: String },
}

impl Config {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// The first property or field that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, _) in self.properties.iter() {
            if let Some((name, why)) = OWNED.iter().find(|(owned, _)| *owned == name) {
                return Err(ConfigError::Conflict {
                    name: (*name).to_owned(),
                    why,
                });
            }
        }
        for (name, value) in self.properties.iter() {
            let mut client = ClientConfig::new();
            if let Err(KafkaError::ClientConfig(refused, ..)) =
                client.set(name, value).create_native_config()
            {
                let problem = match refused {
                    RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "is no property of the client library",
                    _ => "has a value that the client library does not take",
                };
                let name = name.to_owned();
                return Err(ConfigError::Property { name, problem });
            }
        }
        let field = |field, problem: &str| {
            Err(ConfigError::Field {
                field,
                problem: problem.to_owned(),
            })
        };
        if self.brokers.trim().is_empty() {
            return field("brokers", "is empty; name at least one host:port");
        }
        if self.group.trim().is_empty() {
            return field(
                "group",
                "is empty; all instances of a job share one group name",
            );
        }
        if !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
            .contains(&self.security_protocol.as_str())
        {
            return field(
                "security_protocol",
                "is not one of plaintext, ssl, sasl_plaintext, sasl_ssl",
            );
        }
        if self.security_protocol.starts_with("sasl") {
            let told = |what: Result<(), String>| {
                what.map_err(|error| match error.split_once(": ") {
                    Some((field, problem)) => ConfigError::Inner {
                        field: field.to_owned(),
                        problem: problem.to_owned(),
                    },
                    None => ConfigError::Inner {
                        field: "sasl_mechanism".to_owned(),
                        problem: error,
                    },
                })
            };
            match self.sasl_mechanism.as_str() {
                "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {}
                OAUTH => told(self.oauth.check())?,
                MSK => told(self.aws.check())?,
                _ => {
                    return field(
                        "sasl_mechanism",
                        "is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM",
                    );
                }
            }
        }
        if !(1_000..=3_600_000).contains(&self.metadata_refresh_ms) {
            return field(
                "metadata_refresh_ms",
                "is not between 1000 and 3600000; give 30000 to notice new partitions within half a minute",
            );
        }
        if self.session_timeout_ms < 3_000 {
            return field(
                "session_timeout_ms",
                "is below 3000; a drain needs time before the group moves on",
            );
        }
        Ok(())
    }

    /// Whether clients prove themselves by a token, and not by a password.
    #[must_use]
    pub fn sends_token(&self) -> bool {
        self.security_protocol.starts_with("sasl")
            && [OAUTH, MSK].contains(&self.sasl_mechanism.as_str())
    }

    fn base(&self) -> anyhow::Result<ClientConfig> {
        use anyhow::Context;
        self.validate()?;
        let mut client = ClientConfig::new();
        for (name, value) in self.properties.iter() {
            client.set(name, value);
        }
        // Set here because the client would take the level of the `log` crate, which is not used: the alarm of offset resets is a
        // warning of the client.
        client.set_log_level(if self.properties.get("debug").is_some() {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("security.protocol", &self.security_protocol);
        if self.sends_token() {
            let identity = match self.sasl_mechanism.as_str() {
                MSK => Identity::Aws(self.aws.clone()),
                _ => Identity::OAuth(self.oauth.clone()),
            };
            client
                .set("sasl.mechanism", OAUTH)
                .set(access::IDENTITY, access::name(identity)?);
        } else if self.security_protocol.starts_with("sasl") {
            let password = if self.sasl_password_file.is_empty() {
                self.sasl_password.clone()
            } else {
                Secret::from_file(self.sasl_password_file.as_ref()).with_context(|| {
                    format!(
                        "kafka.sasl_password_file: cannot read {}",
                        self.sasl_password_file
                    )
                })?
            };
            client
                .set("sasl.mechanism", &self.sasl_mechanism)
                .set("sasl.username", &self.sasl_username)
                .set("sasl.password", password.reveal());
            if !self.sasl_password_file.is_empty() {
                let identity = Identity::File {
                    username: self.sasl_username.clone(),
                    file: self.sasl_password_file.clone(),
                };
                client.set(access::IDENTITY, access::name(identity)?);
            }
        }
        if !self.ca_file.is_empty() {
            client.set("ssl.ca.location", &self.ca_file);
        }
        // A configuration written before the setting existed may give the property.
        if self.properties.get(METADATA_REFRESH).is_none() {
            client.set(METADATA_REFRESH, self.metadata_refresh_ms.to_string());
        }
        Ok(client)
    }

    /// Properties of the telemetry consumer.
    ///
    /// # Errors
    /// A conflicting property, or a secret that cannot be read.
    pub fn consumer(&self) -> anyhow::Result<ClientConfig> {
        let mut client = self.base()?;
        client
            .set("group.id", &self.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "true")
            .set("enable.auto.offset.store", "false")
            .set(
                "auto.commit.interval.ms",
                self.commit_interval_ms.to_string(),
            )
            .set("auto.offset.reset", "earliest")
            // Read in batches, such an event would move the client's position by one message too far (see `feed`).
            .set("enable.partition.eof", "false")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set(
                "heartbeat.interval.ms",
                (self.session_timeout_ms / 10).clamp(300, 3_000).to_string(),
            )
            .set(
                "statistics.interval.ms",
                self.statistics_interval_ms.to_string(),
            )
            .set(
                "queued.max.messages.kbytes",
                self.prefetch_kib_per_partition.to_string(),
            )
            .set("queued.min.messages", "1000000");
        if self.properties.get("fetch.message.max.bytes").is_none() {
            client.set("fetch.message.max.bytes", self.fetch_bytes().to_string());
        }
        self.check_data(&mut client);
        // A partition whose prefetch was full is asked again after this; the client's default of a second starves the job, as
        // its prefetch holds less than a second's records.
        if self.properties.get("fetch.queue.backoff.ms").is_none() {
            client.set("fetch.queue.backoff.ms", "10");
        }
        if !self.instance_id.is_empty() {
            client.set("group.instance.id", &self.instance_id);
        }
        Ok(client)
    }

    /// KiB that a manually assigned consumer prefetches.
    #[must_use]
    pub fn by_hand_kib(&self) -> u64 {
        BY_HAND_KIB.min(self.prefetch_kib_per_partition.into())
    }

    /// Bytes of one fetch of a partition: no more than is prefetched. A larger message is fetched all the same, alone.
    #[must_use]
    pub fn fetch_bytes(&self) -> u32 {
        self.prefetch_kib_per_partition
            .saturating_mul(1024)
            .clamp(64 * 1024, 1024 * 1024)
    }

    /// Properties of the producer of letters: idempotent, with retries without end.
    ///
    /// # Errors
    /// As [`consumer`](Self::consumer).
    pub fn producer(&self) -> anyhow::Result<ClientConfig> {
        let mut client = self.base()?;
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "20");
        // What a record may take is said by its topic, and looked at before it is handed over.
        if self.properties.get("message.max.bytes").is_none() {
            client.set("message.max.bytes", LARGEST_RECORD.to_string());
        }
        Ok(client)
    }

    /// Properties of a manually assigned consumer. It commits nothing to the group that the client needs to be named.
    ///
    /// # Errors
    /// As [`consumer`](Self::consumer).
    pub fn by_hand(&self, what: &str) -> anyhow::Result<ClientConfig> {
        let mut client = self.base()?;
        client
            .set("group.id", format!("{}-{what}", self.group))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", self.by_hand_kib().to_string())
            .set("fetch.message.max.bytes", self.fetch_bytes().to_string());
        self.check_data(&mut client);
        Ok(client)
    }

    /// Has the client verify checksums: data damaged on a disk is detected, which the client does not do by default.
    fn check_data(&self, client: &mut ClientConfig) {
        if self.properties.get("check.crcs").is_none() {
            client.set("check.crcs", "true");
        }
    }

    /// Properties of a client for metadata and administration (also of `check --connect`).
    ///
    /// # Errors
    /// As [`consumer`](Self::consumer).
    pub fn plain(&self) -> anyhow::Result<ClientConfig> {
        self.base()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflicting_property_is_refused_by_name() {
        let config: Config = toml::from_str(
            "[properties]\n\"enable.auto.commit\" = \"false\"\n\"fetch.min.bytes\" = \"1\"",
        )
        .expect("parses");
        assert_eq!(
            config.validate().expect_err("refused").to_string(),
            "kafka.properties: \"enable.auto.commit\" may not be set: stored offsets are committed by the client's timer"
        );
    }

    #[test]
    fn a_mistyped_property_is_named_without_its_value() {
        for (property, problem) in [
            ("ssl.key.pasword", "is no property"),
            (
                "compression.level",
                "has a value that the client library does not take",
            ),
        ] {
            let text = format!("[properties]\n{property:?} = \"S3CRET-1\"");
            let config: Config = toml::from_str(&text).expect("parses");
            let error = config.validate().expect_err("refused").to_string();
            assert!(
                error.contains(property) && error.contains(problem),
                "{error}"
            );
            assert!(!error.contains("S3CRET"), "{error}");
        }
        let good = "[properties]\n\"fetch.min.bytes\" = \"1\"\n\"debug\" = \"broker\"";
        let config: Config = toml::from_str(good).expect("parses");
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn the_metadata_refresh_is_a_setting_and_a_property_given_before_counts() {
        let of = |text: &str| {
            let config: Config = toml::from_str(text).expect("parses");
            let client = config.consumer().expect("usable");
            client.get(METADATA_REFRESH).map(str::to_owned)
        };
        assert_eq!(of("").as_deref(), Some("30000"));
        assert_eq!(of("metadata_refresh_ms = 5000").as_deref(), Some("5000"));
        let given = "[properties]\n\"topic.metadata.refresh.interval.ms\" = \"7000\"";
        assert_eq!(of(given).as_deref(), Some("7000"));
        let config: Config = toml::from_str("metadata_refresh_ms = 999").expect("parses");
        let error = config.validate().expect_err("too often").to_string();
        assert!(
            error.starts_with("kafka.metadata_refresh_ms: is not between"),
            "{error}"
        );
    }

    #[test]
    fn the_invariants_properties_are_set() {
        let client = Config::default().consumer().expect("defaults work");
        for (name, value) in [
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ] {
            assert_eq!(client.get(name), Some(value));
        }
    }
}
