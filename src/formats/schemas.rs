//! Schemas of a schema registry, asked for once and kept.
//!
//! Owns what is known and one task for each schema that is being asked for. Whoever needs a schema that is not known
//! gets a [`Coming`] and waits for it; the task asks until it gets an answer that counts, with a growing backoff, and publishes
//! each trouble to those who wait. It ends with the last of them.
//!
//! * A schema is kept for ever, as its id never means another one; beyond `schema_registry.cache_bytes` the oldest goes (M1).
//! * What the registry does not know, and what cannot be used, is kept for `schema_registry.unknown_s`.
//! * That the registry is away is never remembered: nothing becomes a letter by it.
//!
//! Only-the-latest-matters: progress travels on a `watch` channel. Compiling takes a thread of its own for blocking work.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::sync::watch;

use super::client::{Client, Refusal, Source, Trouble};
use super::fault::{Fault, SCHEMA, UNKNOWN};
use super::settings::{Config, Format};
use super::{avro, protobuf};
use crate::ops::metrics::formats as metrics;
use crate::ops::panics;

/// What a failure that is kept counts in the cache, at least.
const ENTRY_BYTES: usize = 512;

/// How the messages of a topic are read.
#[derive(Debug)]
pub struct View {
    /// Tells views apart.
    pub number: u32,
    /// `Avro` or `Protobuf`.
    pub format: Format,
    pub reader: Option<avro::Schema>,
}

/// A compiled schema.
#[derive(Debug)]
pub enum Compiled {
    Avro(avro::Plan),
    Protobuf(protobuf::Plan),
}

/// A schema, or why its messages cannot be read.
pub type Answer = Result<Arc<Compiled>, Arc<Fault>>;

/// How far the question for a schema is.
#[derive(Debug, Clone)]
pub enum Progress {
    Asking,
    /// The registry is away; it is asked again.
    Away(Trouble),
    Known(Answer),
}

type Key = (u32, u32);

#[derive(Debug)]
struct Known {
    answer: Answer,
    /// Until when it holds; `None` for ever.
    until: Option<Instant>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Key, Known>,
    /// Keys of `known`, the oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    asked: HashMap<Key, watch::Receiver<Progress>>,
}

/// See the module. Shared by all partitions of a job.
pub struct Schemas {
    client: Client,
    config: Config,
    // A lock: held for a look or a change, never across an await.
    inner: Mutex<Inner>,
}

/// A schema that is being asked for.
#[derive(Debug)]
pub struct Coming {
    pub id: u32,
    /// The task that asks has the sender. When all receivers are dropped, it ends.
    progress: watch::Receiver<Progress>,
}

impl Coming {
    /// The next news. Cancelling loses nothing. `None` when the task has ended without an answer: to be asked for again.
    pub async fn changed(&mut self) -> Option<Progress> {
        self.progress.changed().await.ok()?;
        Some(self.progress.borrow_and_update().clone())
    }

    /// Waits until the schema is known, or says at the first trouble that it is away.
    ///
    /// # Errors
    /// The registry is away.
    pub async fn settled(&mut self) -> Result<Answer, Trouble> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            match progress {
                Progress::Known(answer) => return Ok(answer),
                Progress::Away(trouble) => return Err(trouble),
                Progress::Asking => {}
            }
            if self.progress.changed().await.is_err() {
                return Err(Trouble {
                    cause: "the question was given up".to_owned(),
                    remedy: "ask again",
                });
            }
        }
    }
}

impl Schemas {
    /// # Errors
    /// As [`Client::new`].
    pub fn new(config: &Config) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            client: Client::new(config)?,
            config: config.clone(),
            inner: Mutex::default(),
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a schema.
    #[must_use]
    pub fn known(&self, id: u32, view: &View) -> Option<Answer> {
        let inner = self.inner();
        let known = inner.known.get(&(id, view.number))?;
        let holds = known.until.is_none_or(|until| Instant::now() < until);
        holds.then(|| known.answer.clone())
    }

    /// Asks for a schema, or joins those who wait for it. Needs a runtime.
    #[must_use]
    pub fn ask(self: &Arc<Self>, id: u32, view: &Arc<View>) -> Coming {
        let key = (id, view.number);
        let mut inner = self.inner();
        // A task that has ended has dropped its sender.
        let asked = inner
            .asked
            .get(&key)
            .filter(|asked| asked.has_changed().is_ok());
        if let Some(asked) = asked {
            let mut progress = asked.clone();
            progress.mark_changed();
            return Coming { id, progress };
        }
        let (sender, progress) = watch::channel(Progress::Asking);
        inner.asked.insert(key, progress.clone());
        drop(inner);
        let (schemas, view) = (Arc::clone(self), Arc::clone(view));
        tokio::spawn(async move { schemas.answer(id, &view, &sender).await });
        Coming { id, progress }
    }

    /// Asks until there is an answer, or nobody waits for it any more.
    async fn answer(&self, id: u32, view: &Arc<View>, sender: &watch::Sender<Progress>) {
        let mut backoff = Duration::from_millis(self.config.retry_ms);
        let longest = Duration::from_millis(self.config.retry_max_ms);
        loop {
            let trouble = match self.once(id, view).await {
                Ok((answer, bytes)) => {
                    self.keep((id, view.number), answer.clone(), bytes);
                    sender.send_replace(Progress::Known(answer));
                    return;
                }
                Err(trouble) => trouble,
            };
            metrics::schema_asked("away");
            tracing::warn!(
                id,
                cause = trouble.cause,
                remedy = trouble.remedy,
                "a schema cannot be asked for; its messages wait"
            );
            sender.send_replace(Progress::Away(trouble));
            let spread = rand::rng().random_range(0.8..1.2);
            let pause = tokio::time::sleep(backoff.mul_f64(spread));
            tokio::pin!(pause);
            loop {
                // The cache has a receiver too, which waits for nothing.
                let alone = || sender.receiver_count() <= 1;
                if alone() && self.forget((id, view.number), &alone) {
                    return;
                }
                let look = Duration::from_millis(500);
                tokio::select! {
                    () = &mut pause => break,
                    () = tokio::time::sleep(look) => {}
                }
            }
            backoff = (backoff * 2).min(longest);
        }
    }

    /// Takes back a question that nobody waits for.
    fn forget(&self, key: Key, alone: &dyn Fn() -> bool) -> bool {
        let mut inner = self.inner();
        // Whoever joins does so under the lock.
        let forgets = alone();
        if forgets {
            inner.asked.remove(&key);
        }
        forgets
    }

    async fn once(&self, id: u32, view: &Arc<View>) -> Result<(Answer, usize), Trouble> {
        let refused = |rule, why: String, bound: &str| {
            let fault = *Fault::new(rule, why, bound);
            let fault = Box::new(fault).of_schema(id);
            Ok((Err(Arc::new(fault)), ENTRY_BYTES))
        };
        let source = match self.client.schema(id).await {
            Ok(source) => source,
            Err(Refusal::Away(trouble)) => return Err(trouble),
            Err(Refusal::Unknown(why)) => {
                metrics::schema_asked("unknown");
                return refused(UNKNOWN, why, "an id that the schema registry knows");
            }
            Err(Refusal::Unfit(why)) => {
                metrics::schema_asked("unfit");
                return refused(SCHEMA, why, "a schema that can be used");
            }
        };
        let bytes = source.bytes().max(ENTRY_BYTES);
        let compiling = Arc::clone(view);
        // A panic of the compiler is the fault of this schema, and of nothing else.
        let compiled = panics::blocking(move || compile(&source, &compiling)).await;
        match compiled {
            Ok(Ok(compiled)) => {
                metrics::schema_asked("found");
                Ok((Ok(Arc::new(compiled)), bytes))
            }
            Ok(Err(fault)) => {
                metrics::schema_asked("unfit");
                Ok((Err(Arc::new(fault.of_schema(id))), ENTRY_BYTES))
            }
            Err(error) => {
                metrics::schema_asked("unfit");
                let why = format!("the schema cannot be compiled: {error}");
                refused(SCHEMA, why, "a schema that can be used")
            }
        }
    }

    fn keep(&self, key: Key, answer: Answer, bytes: usize) {
        let until = match &answer {
            Ok(_) => None,
            Err(fault) => {
                tracing::warn!(
                    id = key.0,
                    rule = fault.rule,
                    why = fault.value,
                    "messages of a schema become letters"
                );
                Some(Instant::now() + Duration::from_secs(self.config.unknown_s))
            }
        };
        let mut inner = self.inner();
        inner.asked.remove(&key);
        let known = Known {
            answer,
            until,
            bytes,
        };
        match inner.known.insert(key, known) {
            Some(before) => inner.bytes -= before.bytes,
            None => inner.order.push_back(key),
        }
        inner.bytes += bytes;
        while inner.bytes > self.config.cache_bytes && inner.order.len() > 1 {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            if let Some(gone) = inner.known.remove(&oldest) {
                inner.bytes -= gone.bytes;
            }
        }
        metrics::schemas_kept(inner.known.len(), inner.bytes);
    }
}

/// Compiles a schema of the registry for a view.
///
/// # Errors
/// Why messages of the schema cannot be read.
pub fn compile(source: &Source, view: &View) -> Result<Compiled, Box<Fault>> {
    let kind = match view.format {
        Format::Protobuf => "PROTOBUF",
        Format::Json | Format::JsonWithHeader | Format::Avro => "AVRO",
    };
    if source.kind != kind {
        return Err(Fault::schema(
            format!("a schema of the type {}", source.kind),
            format!("a schema of the type {kind}, as input.formats says"),
        ));
    }
    if view.format == Format::Protobuf {
        let imports = source.references.clone();
        return protobuf::Plan::of_text(&source.text, imports).map(Compiled::Protobuf);
    }
    let references: Vec<String> = source
        .references
        .iter()
        .map(|(_, text)| text.clone())
        .collect();
    let writer = avro::Schema::parse(&source.text, &references)?;
    avro::Plan::new(&writer, view.reader.as_ref()).map(Compiled::Avro)
}
