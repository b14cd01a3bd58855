//! The files of the mail: a Maildir's `new` and `cur`, or a folder of `.eml` files, or both, listed and read one by one.
//!
//! Files are only read: nothing is moved, marked or removed. A mail that a parser may fail on is opened in a process of its own
//! ([`apart`]). A caller that is dropped leaves at most a thread that ends with its file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::apart::{self, Program};
use super::email::{self, Understood};
use super::items::Products;
use super::opened::{self, How, Opened};
use super::patterns::Patterns;
use crate::ops::panics;
use crate::orders::watched::{self, Listed};

/// Lists and reads mails by the settings.
#[derive(Debug, Clone)]
pub struct MailFiles {
    folder: PathBuf,
    /// Bytes of one file, at most.
    most: u64,
    /// Memory in MiB of the process that opens a mail apart.
    memory_mb: u64,
    /// Age of mail that is read, at most.
    back: SignedDuration,
    /// Compiled patterns; the thread that reads a mail has a clone.
    patterns: Arc<Patterns>,
    /// The program that opens PDF files and mails within mails.
    program: Program,
}

impl MailFiles {
    /// # Errors
    /// A pattern that is none.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let patterns = Patterns::new(config).map_err(|error| anyhow::anyhow!("orders.{error}"))?;
        Ok(Self {
            folder: config.folder.clone(),
            most: config.max_bytes,
            memory_mb: config.reader_memory_mb,
            back: SignedDuration::from_hours(24 * i64::from(config.days)),
            patterns: Arc::new(patterns),
            program: Program::default(),
        })
    }

    /// With another program that opens mails.
    #[must_use]
    pub fn with_program(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    /// Mail before this time is not read.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.back).unwrap_or(Timestamp::MIN)
    }

    /// All files of a Maildir's `new` and `cur`, and `.eml` files beside them.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn list(&self) -> anyhow::Result<Listed> {
        let folder = self.folder.clone();
        let listed = blocking(move || list(&folder)).await?;
        listed.with_context(|| format!("orders.mail.folder: {}", self.folder.display()))
    }

    /// Takes a mail apart; nothing if its file is gone, nothing within if it is no mail.
    pub async fn opened(&self, path: &Path) -> Option<Result<Option<Opened>, String>> {
        let (folder, file, most) = (self.folder.clone(), path.to_owned(), self.most);
        let patterns = Arc::clone(&self.patterns);
        let opened = blocking(move || {
            let remedy = "raise orders.mail.max_bytes or remove the mail";
            let bytes = match watched::read(&folder, &file, most, remedy) {
                // A mail program may have moved it meanwhile: the next look finds it again.
                Err(unread) if unread.is_gone() => return None,
                read => read.map_err(|unread| unread.to_string()),
            };
            Some(bytes.and_then(|bytes| First::look(bytes, &patterns)))
        });
        // A panic is this mail's alone.
        let first = opened
            .await
            .unwrap_or_else(|error| Some(Err(format!("{error:#}; remove the mail"))))?;
        Some(match first {
            Ok(First::Opened(opened)) => Ok(opened),
            Ok(First::Apart(bytes)) => apart::open(&self.program, &bytes, self.memory_mb).await,
            Err(why) => Err(why),
        })
    }

    /// The content of a mail that was taken apart.
    ///
    /// # Errors
    /// Why it is not understood.
    pub async fn understood(
        &self,
        opened: Opened,
        path: &Path,
        modified: Timestamp,
        products: &Products,
    ) -> Result<Understood, String> {
        let (patterns, products) = (Arc::clone(&self.patterns), products.clone());
        let name = watched::shown(path);
        let understood =
            blocking(move || email::understand(&opened, &patterns, &products, &name, modified));
        let understood = understood.await;
        understood.map_err(|error| format!("{error:#}; remove the mail"))
    }

    /// Reads a file; nothing if it is gone.
    pub async fn read(
        &self,
        path: &Path,
        modified: Timestamp,
        products: &Products,
    ) -> Option<Result<Understood, String>> {
        Some(match self.opened(path).await? {
            Ok(Some(opened)) => self.understood(opened, path, modified, products).await,
            Ok(None) => Ok(Understood::default()),
            Err(why) => Err(why),
        })
    }
}

/// A mail after the first look at it.
enum First {
    Opened(Option<Opened>),
    /// It is to be opened apart.
    Apart(Vec<u8>),
}

impl First {
    fn look(bytes: Vec<u8>, patterns: &Patterns) -> Result<Self, String> {
        if opened::may_hold_mails(&bytes) {
            return Ok(Self::Apart(bytes));
        }
        email::check_size(&bytes)?;
        let opened = opened::open(&bytes, How::Plain);
        // Files of mails that are no letters are nobody's business.
        let apart = opened
            .as_ref()
            .is_some_and(|opened| opened.more && patterns.concern(opened));
        Ok(if apart {
            Self::Apart(bytes)
        } else {
            Self::Opened(opened)
        })
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    panics::blocking(work)
        .await
        .map_err(anyhow::Error::msg)
        .context("reading the mail failed")
}

/// Mails of a folder: all files of a Maildir's `new` and `cur`, and `.eml` files beside them.
fn list(folder: &Path) -> std::io::Result<Listed> {
    let mut found = Vec::new();
    for (below, all) in [("", false), ("new", true), ("cur", true)] {
        let wanted = |name: &OsStr| {
            let name = name.to_string_lossy();
            !name.starts_with('.') && (all || name.to_ascii_lowercase().ends_with(".eml"))
        };
        match watched::list(&folder.join(below), wanted) {
            Err(error) if all && error.kind() == std::io::ErrorKind::NotFound => {}
            listed => found.extend(listed?),
        }
    }
    Ok(found)
}
