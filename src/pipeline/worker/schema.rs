//! The schema that a worker waits for: the next message of its chunk cannot be read without it.
//!
//! Owns the question and the published wait (H1). Only this partition waits: the question is asked by a task of its own, and the
//! worker goes on with what it has. The wait is published with the first trouble, or when the answer takes longer than
//! [`SOON`]; it ends with the answer. Nothing becomes a letter because the schema registry is away.
//!
//! Dropped, the question is given up if no other partition waits for the schema, and the message is read again by the
//! partition's next owner.

use std::time::Instant;

use super::Worker;
use super::waits::SOON;
use crate::formats::{Coming, Missing, Progress, Reader};
use crate::ops::waits::{Kind, Wait};

/// See the module.
#[derive(Default)]
pub(super) struct Schema {
    coming: Option<Coming>,
    /// Since when it is asked for.
    since: Option<Instant>,
    wait: Option<Wait>,
    /// Why the registry is away, and what to do, as last told.
    trouble: Option<(String, &'static str)>,
}

impl Schema {
    /// Whether no message can be read before the schema is here.
    pub fn waits(&self) -> bool {
        self.coming.is_some()
    }

    pub fn ask(&mut self, reader: Option<&mut Reader>, missing: Missing) {
        self.coming = reader.and_then(|reader| reader.ask(missing));
        self.since = Some(Instant::now());
    }

    /// The next news; pending while nothing is asked for. Cancelling loses nothing.
    pub async fn changed(&mut self) -> Option<Progress> {
        match &mut self.coming {
            Some(coming) => coming.changed().await,
            None => std::future::pending().await,
        }
    }

    /// When the wait is due.
    pub fn looked_at(&self) -> Option<Instant> {
        let due = self.since.map(|since| since + SOON);
        due.filter(|_| self.waits() && self.wait.is_none())
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

impl Worker {
    /// Takes in what the question for a schema came to.
    pub(super) fn schema_news(&mut self, news: Option<Progress>) {
        let id = self.schema.coming.as_ref().map(|coming| coming.id);
        match (news, id) {
            (Some(Progress::Asking), _) => {}
            (Some(Progress::Away(trouble)), _) => {
                self.schema.trouble = Some((trouble.cause, trouble.remedy));
                self.show_schema(Instant::now());
            }
            (Some(Progress::Known(answer)), Some(id)) => {
                if let Some(reader) = self.decoder.reader() {
                    reader.tell(id, answer);
                }
                self.schema.end();
            }
            // The task that asked has ended: the message is tried again, and asks anew.
            (Some(Progress::Known(_)) | None, _) => self.schema.end(),
        }
    }

    pub(super) fn show_schema(&mut self, now: Instant) {
        let Some(coming) = &self.schema.coming else {
            return;
        };
        let lasts = self
            .schema
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= SOON);
        let (cause, remedy) = match &self.schema.trouble {
            Some((cause, remedy)) => (cause.clone(), *remedy),
            None if lasts => (
                "no answer yet".to_owned(),
                "wait; check schema_registry.urls and the network, if it lasts",
            ),
            None => return,
        };
        let cause = format!(
            "the schema with id {} cannot be asked for: {cause}",
            coming.id
        );
        match &self.schema.wait {
            Some(wait) => wait.update(cause),
            None => {
                let subject = self.progress.input.to_string();
                let wait = self.shared.board.wait(Kind::Schema, subject, cause, remedy);
                self.schema.wait = Some(wait);
            }
        }
    }
}
