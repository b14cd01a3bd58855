//! Looking for sheets: a folder into which they are dropped, a URL where the newest one is, or both.
//!
//! A file counts once two looks find it unchanged: one that is still being written is not judged. The older files of a folder are
//! read first. A place that cannot be read is told by an alarm and looked at again, for ever; so is a single file, which hides no other
//! one ([`watched`]).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::fetch::Fetch;
use super::{Ask, Config, Means, apply};
use crate::ops::metrics::orders as metrics;
use crate::ops::panics;
use crate::orders::Clock;
use crate::orders::journey::Actor;
use crate::orders::refused::{Reasons, Refused};
use crate::orders::store::Store;
use crate::orders::watched::{self, Look, Unread};

const FOLDER: &str = "folder";
const URL: &str = "url";
/// The alarm's kind for places and files that cannot be read.
const UNREADABLE: &str = "sheet-unreadable";
/// Looks in vain before a person is told.
const PATIENCE: u32 = 3;
/// Files of these endings are sheets.
const ENDINGS: [&str; 2] = ["csv", "xlsx"];

#[derive(Debug)]
struct Known {
    /// Length and time of the file at the last look.
    look: Look,
    /// Whether the file was judged as it is.
    judged: bool,
    /// When it is to be judged again, if ever.
    again_at: Option<Timestamp>,
}

/// Looks for sheets and has them applied.
pub struct Watcher {
    /// The orders store.
    store: Store,
    /// Asks the device registry for serials that no unit has.
    ask: Ask,
    /// Settings of the sheets.
    config: Config,
    /// Prefixes of the serials of own products.
    own: Vec<String>,
    /// The wall clock.
    clock: Clock,
    /// HTTP client of the sheet's URL; `None` without a URL.
    fetch: Option<Fetch>,
    /// Files of the folder as last looked at, by path; a file that is gone is forgotten.
    files: HashMap<PathBuf, Known>,
    /// When this watcher was made: without any sheet, staleness counts from here.
    begun: Timestamp,
    /// Whether the alarm for missing sheets stands; `None` before the first look.
    stale: Option<bool>,
    /// Failures and alarms of folder and URL.
    places: HashMap<&'static str, WatchedSource>,
    /// Alarms about single files.
    refused: Refused,
}

/// How reading a place goes.
#[derive(Debug, Default)]
struct WatchedSource {
    /// Looks in vain, one after the other.
    failures: u32,
    /// Whether its alarm stands; unknown before the first look.
    told: Option<bool>,
}

impl Watcher {
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(store: Store, ask: Ask, config: Config, clock: Clock) -> anyhow::Result<Self> {
        let fetch = if config.url.is_empty() {
            None
        } else {
            Some(Fetch::new(&config)?)
        };
        Ok(Self {
            begun: clock(),
            store,
            ask,
            config,
            own: Vec::new(),
            clock,
            fetch,
            files: HashMap::new(),
            stale: None,
            places: HashMap::new(),
            refused: Refused::new(UNREADABLE, &[FOLDER, URL]),
        })
    }

    /// With what the serials of own products begin with.
    #[must_use]
    pub fn with_own(mut self, own: Vec<String>) -> Self {
        self.own = own;
        self
    }

    fn means(&self) -> Means<'_> {
        Means {
            store: &self.store,
            ask: &self.ask,
            config: &self.config,
            own: &self.own,
        }
    }

    /// One look at every place, and at what is due of accepted sheets.
    pub async fn look(&mut self) {
        if let Err(error) = apply::resume(self.means(), (self.clock)()).await {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "what is due of accepted sheets waits for the next look"
            );
        }
        if !self.config.folder.as_os_str().is_empty() {
            let looked = self.look_at_folder().await;
            self.tell(FOLDER, looked).await;
        }
        if self.fetch.is_some() {
            let looked = self.look_at_url().await;
            self.tell(URL, looked).await;
        }
    }

    async fn look_at_folder(&mut self) -> anyhow::Result<()> {
        let folder = self.config.folder.clone();
        let listed = blocking(move || watched::list(&folder, is_sheet))
            .await?
            .with_context(|| {
                let folder = self.config.folder.display();
                format!("orders.terminations.folder: {folder}")
            })?;
        let (mut found, mut refused) = (Vec::new(), Reasons::new());
        for (path, look) in listed {
            match look {
                Ok(look) => found.push((path, look)),
                Err(unread) => {
                    refused.insert(watched::shown(&path), unread.to_string());
                }
            }
        }
        found.sort_by(|(a, one), (b, other)| (one.modified, a).cmp(&(other.modified, b)));
        self.files
            .retain(|path, _| found.iter().any(|(kept, _)| kept == path));
        self.tell_stale(found.last().map(|(_, look)| look.modified))
            .await?;
        for (path, look) in found {
            let name = watched::shown(&path);
            if let Err(unread) = self.look_at_file(path, look).await? {
                refused.insert(name, unread.to_string());
            }
        }
        let (by, now) = (Actor::Sheet(FOLDER.into()), (self.clock)());
        self.refused.tell(&self.store, refused, &by, now).await?;
        Ok(())
    }

    /// Judges a file if it is due. The outer error is the store's.
    async fn look_at_file(
        &mut self,
        path: PathBuf,
        look: Look,
    ) -> anyhow::Result<Result<(), Unread>> {
        let now = (self.clock)();
        let due = match self.files.get(&path) {
            Some(known) if known.look == look => {
                !known.judged || known.again_at.is_some_and(|at| at <= now)
            }
            _ => {
                let known = Known {
                    look,
                    judged: false,
                    again_at: None,
                };
                self.files.insert(path, known);
                return Ok(Ok(()));
            }
        };
        if !due {
            return Ok(Ok(()));
        }
        let (folder, file, most) = (
            self.config.folder.clone(),
            path.clone(),
            self.config.max_bytes,
        );
        let read = blocking(move || {
            let remedy = "raise orders.terminations.max_bytes or give a smaller file";
            watched::read(&folder, &file, most, remedy)
        });
        let bytes = match read.await? {
            Ok(bytes) => bytes,
            // The next look does not find it any more.
            Err(unread) if unread.is_gone() => return Ok(Ok(())),
            Err(unread) => return Ok(Err(unread)),
        };
        let name = watched::shown(&path);
        let again_at = apply::apply(self.means(), FOLDER, &name, &bytes, now).await?;
        if let Some(known) = self.files.get_mut(&path) {
            (known.judged, known.again_at) = (true, again_at);
        }
        Ok(Ok(()))
    }

    async fn look_at_url(&mut self) -> anyhow::Result<()> {
        let Some(fetch) = &self.fetch else {
            return Ok(());
        };
        let bytes = fetch.get().await?;
        let now = (self.clock)();
        apply::apply(self.means(), URL, URL, &bytes, now).await?;
        Ok(())
    }

    /// No new sheet for too long: whoever sends them may have stopped.
    async fn tell_stale(&mut self, newest: Option<SystemTime>) -> anyhow::Result<()> {
        let hours = self.config.stale_after_h;
        if hours == 0 {
            return Ok(());
        }
        let now = (self.clock)();
        let newest = newest
            .and_then(|at| Timestamp::try_from(at).ok())
            .unwrap_or(self.begun);
        let wait = SignedDuration::from_hours(i64::try_from(hours).unwrap_or(i64::MAX / 3600));
        let stale = now.duration_since(newest) >= wait;
        if self.stale != Some(stale) {
            let said = format!("no new sheet of terminations for {hours} hours");
            self.alarm("sheet-stale", FOLDER, &said, stale).await?;
            self.stale = Some(stale);
        }
        Ok(())
    }

    /// A place that cannot be read is told to a person, at once if it never could be; and so is that it can be read again.
    async fn tell(&mut self, name: &'static str, looked: anyhow::Result<()>) {
        let place = self.places.entry(name).or_default();
        let said = match looked {
            Ok(()) => {
                place.failures = 0;
                None
            }
            Err(error) => {
                place.failures += 1;
                let said = format!("the sheet of terminations cannot be read: {error:#}");
                tracing::warn!(place = name, said);
                if place.told.is_some() && place.failures < PATIENCE {
                    return;
                }
                Some(said)
            }
        };
        let raise = said.is_some();
        if place.told == Some(raise) {
            return;
        }
        let said = said.unwrap_or_default();
        match self.alarm(UNREADABLE, name, &said, raise).await {
            Ok(()) => self.places.entry(name).or_default().told = Some(raise),
            Err(error) => tracing::warn!(%error, "an alarm could not be written"),
        }
    }

    async fn alarm(
        &self,
        kind: &'static str,
        subject: &str,
        said: &str,
        raise: bool,
    ) -> Result<(), crate::orders::store::Error> {
        let (by, now) = (Actor::Sheet(subject.into()), (self.clock)());
        if !raise {
            return self
                .store
                .clear_alarm(kind, subject, &by, now)
                .await
                .map(drop);
        }
        if self
            .store
            .note_alarm(kind, subject, said, None, &by, now)
            .await?
        {
            metrics::count_alarm(kind);
            tracing::warn!(kind, subject, said, "alarm");
        }
        Ok(())
    }
}

/// Whether a file's name is that of a sheet.
fn is_sheet(name: &OsStr) -> bool {
    let hidden = name.to_string_lossy().starts_with(['.', '~']);
    let ending = Path::new(name).extension().map(OsStr::to_ascii_lowercase);
    !hidden && ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    panics::blocking(work)
        .await
        .map_err(anyhow::Error::msg)
        .context("reading the folder failed")
}
