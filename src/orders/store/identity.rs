//! Who the store is and how far it is: a UUID, a number that only grows, and what was found when it was compared with the registry.
//!
//! * A generation is issued in the transaction of what it stands for, and only then published; so the topic never shows one of
//!   this store that the store does not know. One that it does not know was issued by a later state of it, or by another store.
//! * `unproven` stays until a person accepts ([`super::recovery`]), whatever the registry says later.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::Row as _;

use super::change::{Cause, Change};
use super::rows::Reader;
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Actor;
use crate::registry::mark::Mark;

/// Where a store came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Made empty by `orders init`.
    #[default]
    Made,
    /// Older than identities: what MyAdmin listed at its first listing needs no explanation.
    CarriedOver,
}

/// The result of the last comparison with the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Not compared since somebody took the lease.
    Unchecked,
    Proven,
    /// Nothing is provisioned until a person accepts.
    Unproven,
    /// A person accepted; the next comparison decides anew.
    Accepted,
}

impl Proof {
    const ALL: [Self; 4] = [
        Self::Unchecked,
        Self::Proven,
        Self::Unproven,
        Self::Accepted,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Accepted => "accepted",
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: String,
    pub origin: Origin,
    pub generation: i64,
    pub proof: Proof,
    /// Why it is not proven; empty otherwise.
    pub why: String,
    /// Since when its proof stands so.
    pub proof_at: Timestamp,
    pub made_at: Timestamp,
}

impl Store {
    /// Gives the store its identity if it has none. One in which something happened already is older than identities.
    pub(super) async fn identify(&self, now: Timestamp) -> Result<(), Error> {
        let act = "giving the store an identity";
        let events: i64 = sqlx::query("SELECT value FROM counters WHERE name = 'event'")
            .fetch_one(&self.pool)
            .await
            .during(act)?
            .try_get("value")
            .during(act)?;
        let origin = if events > 0 { "carried-over" } else { "made" };
        sqlx::query(
            "INSERT INTO identity (name, id, origin, generation, proof, why, proof_at, made_at) \
             VALUES ('store', $1, $2, 0, 'unchecked', '', $3, $3) ON CONFLICT (name) DO NOTHING",
        )
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(origin)
        .bind(micros(now))
        .execute(&self.pool)
        .await
        .during(act)?;
        Ok(())
    }

    /// Who the store is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let row = sqlx::query("SELECT * FROM identity WHERE name = 'store'")
            .fetch_one(&self.pool)
            .await
            .during("reading the store's identity")?;
        let reader = Reader::new(&row, "the identity");
        let (origin, proof) = (reader.text("origin")?, reader.text("proof")?);
        Ok(Identity {
            id: reader.text("id")?,
            origin: match origin.as_str() {
                "made" => Origin::Made,
                "carried-over" => Origin::CarriedOver,
                other => return Err(reader.corrupt(format!("there is no origin {other:?}"))),
            },
            generation: reader.number("generation")?,
            proof: Proof::ALL
                .into_iter()
                .find(|known| known.name() == proof)
                .ok_or_else(|| reader.corrupt(format!("there is no proof {proof:?}")))?,
            why: reader.text("why")?,
            proof_at: reader.time("proof_at")?,
            made_at: reader.time("made_at")?,
        })
    }

    /// Nonces of the generations that the topic may show.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn nonces(&self) -> Result<HashSet<String>, Error> {
        let rows = sqlx::query("SELECT nonce FROM generations")
            .fetch_all(&self.pool)
            .await
            .during("listing generations")?;
        rows.iter()
            .map(|row| row.try_get("nonce").during("listing generations"))
            .collect()
    }

    /// Forgets the generations before one that the topic has confirmed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn confirmed(&self, generation: i64) -> Result<(), Error> {
        sqlx::query("DELETE FROM generations WHERE generation < $1")
            .bind(generation)
            .execute(&self.pool)
            .await
            .during("forgetting generations")?;
        Ok(())
    }
}

impl Change {
    /// Issues the next generation. It may be published once this is committed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn issue_generation(&mut self) -> Result<i64, Error> {
        let generation: i64 = sqlx::query(
            "UPDATE identity SET generation = generation + 1 WHERE name = 'store' RETURNING generation",
        )
        .fetch_one(&mut *self.tx)
        .await
        .during("issuing a generation")?
        .try_get("generation")
        .during("issuing a generation")?;
        let nonce = uuid::Uuid::new_v4().to_string();
        self.know_generation(generation, &nonce).await?;
        Ok(generation)
    }

    /// Writes that the topic may show a generation.
    pub(super) async fn know_generation(
        &mut self,
        generation: i64,
        nonce: &str,
    ) -> Result<(), Error> {
        sqlx::query("INSERT INTO generations (nonce, generation, made_at) VALUES ($1, $2, $3) ON CONFLICT (nonce) DO NOTHING")
            .bind(nonce.to_owned())
            .bind(generation)
            .bind(micros(self.now))
            .execute(&mut *self.tx)
            .await
            .during("writing a generation")?;
        Ok(())
    }

    /// The mark of the newest generation, with the units whose call is open now, or whose serial is not published yet.
    ///
    /// # Errors
    /// The store cannot be read, or no generation was issued yet.
    pub async fn newest_mark(&mut self) -> Result<Mark, Error> {
        let row = sqlx::query(
            "SELECT i.id, i.generation, g.nonce FROM identity i JOIN generations g ON g.generation = i.generation \
             WHERE i.name = 'store'",
        )
        .fetch_one(&mut *self.tx)
        .await
        .during("reading the newest generation")?;
        let reader = Reader::new(&row, "the newest generation");
        let open = sqlx::query(
            "SELECT unit_id FROM intents WHERE state IN ('open', 'unresolved') \
             UNION SELECT unit_id FROM outbox WHERE published_at IS NULL AND serial IS NOT NULL AND unit_id IS NOT NULL \
             ORDER BY unit_id",
        )
        .fetch_all(&mut *self.tx)
        .await
        .during("listing open calls")?;
        Ok(Mark {
            store: reader.text("id")?.into(),
            generation: reader.number("generation")?,
            nonce: reader.text("nonce")?.into(),
            open: open
                .iter()
                .map(|row| {
                    Reader::new(row, "an intent")
                        .text("unit_id")
                        .map(Into::into)
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Writes what a comparison found, with an event if it is news. True if it is.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_proof(&mut self, proof: Proof, why: &str) -> Result<bool, Error> {
        let written = sqlx::query(
            "UPDATE identity SET proof = $1, why = $2, proof_at = $3 WHERE name = 'store' AND NOT (proof = $1 AND why = $2)",
        )
        .bind(proof.name())
        .bind(why.to_owned())
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("writing a proof")?
        .rows_affected();
        let news = written > 0;
        if news && (proof != Proof::Unchecked || *self.by() != Actor::Reconciler) {
            let why = if why.is_empty() {
                "store and registry agree"
            } else {
                why
            };
            self.note(None, None, Cause::new(proof.name(), why)).await?;
        }
        Ok(news)
    }
}
