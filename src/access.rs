//! How Kafka clients prove who they are: bearer tokens (OAUTHBEARER, AWS MSK IAM), and passwords that change while the job runs.
//!
//! Owns a table of identities for the whole process, one per distinct setting, and a thread for each, which keeps its token or
//! password ready. A client names its identity by the property [`IDENTITY`], which is read back from the running client, so that
//! whoever opens one from a `ClientConfig` needs nothing else.
//!
//! * A client that is opened by this module has its token before its first call. One that lives long takes over what is newer
//!   whenever it is polled ([`upkeep`]); connections that exist stay.
//! * A token is renewed when four fifths of its life have passed; a password's file is read every `LOOK`. No call of a Kafka client
//!   waits for the token endpoint, but for the first token of the process, up to [`FIRST`].
//! * C1: a token or password is in no log, error or `Debug`.
//!
//! Identities and their threads live as long as the process: their number is that of the distinct settings.

pub mod msk;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::bindings as ffi;
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, DefaultConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::http::client_credentials::{Ask, Issuer};
use crate::http::transport::{self, Options};

/// The property by which a client names its identity. The client library passes it on to callbacks that this program has not.
pub const IDENTITY: &str = "sasl.oauthbearer.config";
/// How long the opening of a client waits for the first token.
pub const FIRST: Duration = Duration::from_secs(5);
/// How often a password's file is read.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after a failure of the token endpoint; doubles up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Settings (`[kafka.oauth]`), for `kafka.sasl_mechanism = "OAUTHBEARER"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth {
    /// Token endpoint of the identity provider (OIDC client credentials).
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret; better given by the environment or by `client_secret_file`.
    pub client_secret: Secret,
    /// File with the client secret, read for every token.
    pub client_secret_file: String,
    /// Scopes, separated by blanks. Empty: those that the provider gives by itself.
    pub scope: String,
    /// Parameter `audience` of the request, which some providers want. Empty: none.
    pub audience: String,
    /// PEM file of certificate authorities trusted for the token endpoint in addition to the system's. Empty: none.
    pub ca_file: String,
    /// Whether `http://` is permitted to hosts other than this machine; the client secret then travels unencrypted.
    pub allow_plain_http: bool,
}

impl OAuth {
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.client_id.is_empty() {
            return Err("oauth.client_id: is empty; OAUTHBEARER needs a client id".to_owned());
        }
        if self.client_secret.is_empty() == self.client_secret_file.is_empty() {
            return Err(
                "oauth.client_secret_file: give either it or oauth.client_secret".to_owned(),
            );
        }
        transport::address(
            "kafka",
            "oauth.token_url",
            &self.token_url,
            self.allow_plain_http,
        )
        .map(|_| ())
        .map_err(|error| format!("oauth.token_url: {error:#}; name the token endpoint"))
    }

    fn issuer(&self) -> anyhow::Result<Issuer> {
        let url = transport::address(
            "kafka",
            "oauth.token_url",
            &self.token_url,
            self.allow_plain_http,
        )?;
        let ca_file = (!self.ca_file.is_empty()).then(|| self.ca_file.as_ref());
        let options = Options {
            section: "kafka",
            plain: false,
            ca_file,
            ca_file_only: false,
            proxy: None,
            user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")),
            connect_timeout: Duration::from_secs(5),
            pool_idle: Duration::from_secs(1),
            pool_size: 1,
        };
        Issuer::new(options, url)
    }

    fn secret(&self) -> anyhow::Result<Secret> {
        match self.client_secret_file.as_str() {
            "" => Ok(self.client_secret.clone()),
            file => Secret::from_file(file.as_ref())
                .with_context(|| format!("kafka.oauth.client_secret_file: cannot read {file}")),
        }
    }
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A user, and the file with the password.
    File {
        username: String,
        file: String,
    },
    OAuth(OAuth),
    Aws(msk::Config),
}

/// What a client is given.
#[derive(Debug, Clone)]
enum Proof {
    Password {
        username: String,
        password: Secret,
    },
    Token {
        text: Secret,
        principal: String,
        /// End of its life by the time of day, as the client library takes it.
        ends_ms: i64,
    },
}

/// The newest proof of an identity.
#[derive(Debug, Default)]
struct Kept {
    /// None before the first.
    proof: Option<Proof>,
    /// Number of the proof, over all identities; 0 before the first.
    number: u64,
    /// Why there is no proof, or no newer one.
    trouble: Option<String>,
}

/// One identity of the table.
struct Entry {
    identity: Identity,
    /// Locked for an assignment, never while anything is asked or read. The identity's thread writes.
    kept: Mutex<Kept>,
    /// Notified when `kept` changed.
    changed: Condvar,
}

static ENTRIES: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());
/// Number of the newest proof of all identities; 0 while nothing has replaced what clients were opened with.
static NEWEST: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Clients that this thread polls, by address, and the newest number they were checked for.
    static CHECKED: RefCell<HashMap<usize, u64>> = RefCell::default();
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the state whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of an identity, for the property [`IDENTITY`].
///
/// # Errors
/// Its thread cannot be started, or its settings cannot be used.
pub fn name(identity: Identity) -> anyhow::Result<String> {
    let mut entries = locked(&ENTRIES);
    let known = entries.iter().position(|entry| entry.identity == identity);
    let at = match known {
        Some(at) => at,
        None => {
            let mut source = Source::of(&identity)?;
            let entry = Arc::new(Entry {
                identity,
                kept: Mutex::default(),
                changed: Condvar::new(),
            });
            let kept = Arc::clone(&entry);
            std::thread::Builder::new()
                .name("kafka-access".to_owned())
                .spawn(move || kept.keep(&mut source))
                .context("cannot start the thread of Kafka credentials")?;
            entries.push(entry);
            entries.len() - 1
        }
    };
    Ok(format!("identity-{at}"))
}

fn entry(name: &str) -> Option<Arc<Entry>> {
    let at: usize = name.strip_prefix("identity-")?.parse().ok()?;
    locked(&ENTRIES).get(at).cloned()
}

/// Where the proofs of an identity come from; used by its thread alone.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per identity of the process"
)]
enum Source {
    File {
        username: String,
        file: String,
        /// The password as it was last read.
        last: Secret,
    },
    OAuth {
        settings: OAuth,
        issuer: Issuer,
        runtime: tokio::runtime::Runtime,
    },
    Aws(msk::Config),
}

impl Source {
    fn of(identity: &Identity) -> anyhow::Result<Self> {
        Ok(match identity.clone() {
            Identity::File { username, file } => {
                // Clients that are opened now have this one.
                let last = Secret::from_file(file.as_ref())
                    .with_context(|| format!("kafka.sasl_password_file: cannot read {file}"))?;
                Self::File {
                    username,
                    file,
                    last,
                }
            }
            Identity::OAuth(settings) => Self::OAuth {
                issuer: settings.issuer()?,
                settings,
                runtime: tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("no runtime for the token endpoint")?,
            },
            Identity::Aws(settings) => Self::Aws(settings),
        })
    }

    /// The next proof, if there is a newer one, and when to look again.
    fn next(&mut self) -> anyhow::Result<(Option<Proof>, Duration)> {
        match self {
            Self::File {
                username,
                file,
                last,
            } => {
                let password = Secret::from_file(file.as_ref())
                    .with_context(|| format!("kafka.sasl_password_file: cannot read {file}"))?;
                if password == *last {
                    return Ok((None, LOOK));
                }
                last.clone_from(&password);
                tracing::info!(
                    file,
                    "kafka.sasl_password_file has another password; new connections use it"
                );
                let username = username.clone();
                Ok((Some(Proof::Password { username, password }), LOOK))
            }
            Self::OAuth {
                settings,
                issuer,
                runtime,
            } => {
                let secret = settings.secret()?;
                let grant = runtime.block_on(issuer.fetch(Ask {
                    client_id: &settings.client_id,
                    secret: &secret,
                    scope: &settings.scope,
                    audience: &settings.audience,
                }))?;
                tracing::debug!(life_s = grant.life.as_secs(), "a Kafka token was fetched");
                let proof = Proof::Token {
                    text: grant.token,
                    principal: settings.client_id.clone(),
                    ends_ms: in_ms(grant.life),
                };
                Ok((Some(proof), grant.life * 4 / 5))
            }
            Self::Aws(settings) => {
                let proof = Proof::Token {
                    text: settings.token(jiff::Timestamp::now())?,
                    principal: "iam".to_owned(),
                    ends_ms: in_ms(msk::LIFE),
                };
                Ok((Some(proof), msk::LIFE * 4 / 5))
            }
        }
    }
}

/// The time of day after `life`, in milliseconds since the epoch.
fn in_ms(life: Duration) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from((now + life).as_millis()).unwrap_or(i64::MAX)
}

impl Entry {
    /// Keeps the proof ready, for as long as the process lives.
    fn keep(&self, source: &mut Source) {
        let mut pause = PAUSES.0;
        loop {
            let rest = match source.next() {
                Ok((proof, rest)) => {
                    pause = PAUSES.0;
                    let mut kept = locked(&self.kept);
                    kept.trouble = None;
                    if let Some(proof) = proof {
                        kept.proof = Some(proof);
                        kept.number = NEWEST.fetch_add(1, Ordering::AcqRel) + 1;
                    }
                    rest
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "Kafka credentials were not renewed; check [kafka] and the identity provider; the renewal is retried"
                    );
                    locked(&self.kept).trouble = Some(error);
                    let rest = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    rest
                }
            };
            self.changed.notify_all();
            let due = Instant::now() + rest;
            while let Some(left) = due
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            {
                std::thread::park_timeout(left);
            }
        }
    }

    /// Gives a client the newest proof; waits at most `bound` for the first token.
    fn give<C: ClientContext>(&self, client: &Client<C>, bound: Duration) {
        let kept = locked(&self.kept);
        let has_token = !matches!(self.identity, Identity::File { .. });
        let waits = |kept: &mut Kept| has_token && kept.proof.is_none() && kept.trouble.is_none();
        let (kept, _) = self
            .changed
            .wait_timeout_while(kept, bound, waits)
            .unwrap_or_else(PoisonError::into_inner);
        let proof = kept.proof.clone();
        drop(kept);
        match proof {
            Some(Proof::Password { username, password }) => {
                set_password(client, &username, &password)
            }
            Some(Proof::Token {
                text,
                principal,
                ends_ms,
            }) => set_token(client, &text, &principal, ends_ms),
            None => {}
        }
    }
}

/// The identity of a running client.
fn entry_of<C: ClientContext>(client: &Client<C>) -> Option<Arc<Entry>> {
    let property = CString::new(IDENTITY).ok()?;
    let mut text = [0u8; 64];
    let mut size = text.len();
    // SAFETY: the client is alive; the buffer is as large as told, and the library ends what it writes with a zero byte.
    let found = unsafe {
        let conf = ffi::rd_kafka_conf(client.native_ptr());
        ffi::rd_kafka_conf_get(
            conf,
            property.as_ptr(),
            text.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if found != ffi::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
        return None;
    }
    entry(CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?)
}

/// Gives a client that was just opened its token. A client without an identity, or with a password, needs nothing.
pub fn prime<C: ClientContext>(client: &Client<C>) {
    if let Some(entry) = entry_of(client) {
        entry.give(client, FIRST);
    }
}

/// Gives a client that lives long what is newer than it has; called by whoever polls it. Costs one load as long as nothing is newer.
pub fn upkeep<C: ClientContext>(client: &Client<C>) {
    let newest = NEWEST.load(Ordering::Acquire);
    if newest == 0 {
        return;
    }
    let address = client.native_ptr() as usize;
    // A client at the address of an earlier one has what was newest when it was opened.
    let checked = CHECKED.with_borrow_mut(|checked| checked.insert(address, newest));
    if checked != Some(newest)
        && let Some(entry) = entry_of(client)
    {
        entry.give(client, Duration::ZERO);
    }
}

/// Opens a consumer that has its token.
///
/// # Errors
/// Properties that the client refuses.
pub fn consumer<C: ConsumerContext + 'static>(
    config: &ClientConfig,
    context: C,
) -> KafkaResult<BaseConsumer<C>> {
    let consumer: BaseConsumer<C> = config.create_with_context(context)?;
    prime(consumer.client());
    Ok(consumer)
}

/// Opens a consumer that has its token, with a context that does nothing.
///
/// # Errors
/// Properties that the client refuses.
pub fn plain_consumer(config: &ClientConfig) -> KafkaResult<BaseConsumer> {
    consumer(config, DefaultConsumerContext)
}

/// Opens a client for administration that has its token.
///
/// # Errors
/// Properties that the client refuses.
pub fn admin(config: &ClientConfig) -> KafkaResult<AdminClient<DefaultClientContext>> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    prime(admin.inner());
    Ok(admin)
}

fn set_token<C: ClientContext>(client: &Client<C>, text: &Secret, principal: &str, ends_ms: i64) {
    let (Ok(text), Ok(principal)) = (CString::new(text.reveal()), CString::new(principal)) else {
        return tracing::warn!("a Kafka token holds a zero byte and cannot be used");
    };
    let mut why = [0u8; 256];
    // SAFETY: the client is alive, the texts outlive the call, and the buffer is as large as told.
    let code = unsafe {
        ffi::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            text.as_ptr(),
            ends_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            why.as_mut_ptr().cast(),
            why.len(),
        )
    };
    if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
        let why = CStr::from_bytes_until_nul(&why).map(CStr::to_string_lossy);
        tracing::warn!(
            why = why.as_deref().unwrap_or_default(),
            "a Kafka client rejected its token"
        );
    }
}

fn set_password<C: ClientContext>(client: &Client<C>, username: &str, password: &Secret) {
    let (Ok(username), Ok(password)) = (CString::new(username), CString::new(password.reveal()))
    else {
        return tracing::warn!("a Kafka password holds a zero byte and cannot be used");
    };
    // SAFETY: the client is alive and copies both texts; the error is ours to destroy.
    unsafe {
        let error = ffi::rd_kafka_sasl_set_credentials(
            client.native_ptr(),
            username.as_ptr(),
            password.as_ptr(),
        );
        if !error.is_null() {
            ffi::rd_kafka_error_destroy(error);
        }
    }
}
