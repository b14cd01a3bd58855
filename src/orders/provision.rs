//! Provisioning: the one call that cannot be repeated (P1).
//!
//! 1. The intent is committed, under the lease, when the request is about to leave: past our rate limits and the pauses that MyAdmin
//!    asked for; then its generation is published. If either cannot be done, there is no call (P3).
//! 2. One call for one unit. At most one call per product is open, so that an orphan can be told whose it is.
//! 3. The answer is committed before anything else is done. It is a fact: it is written even if the lease was lost meanwhile. A process
//!    that leaves waits for it ([`super::calls`]).
//! 4. A call whose answer was lost stays open and is never repeated; `reconcile::doubt` concludes.
//!
//! A crash between any two of these leaves an open intent at worst; a dropped future finishes its call.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Clock;
use super::answer::{Answered, give};
use super::calls::Tries;
use super::executor::{Done, Executor, park, unchanged};
use super::journey::unit::{Live, Unit};
use super::journey::{Actor, Code, Reason, Serial};
use super::market::Market;
use super::registrar::Registrar;
use super::settings::Config;
use super::store::change::Cause;
use super::store::intents::{IntentRow, Outcome, Wish};
use super::store::lease::Token;
use super::store::rows::UnitRow;
use super::store::{Error, Store};
use crate::myadmin;
use crate::myadmin::wire::{ProvisionCall, Provisioning};
use crate::ops::metrics::orders as metrics;

/// One provisioning call, with all it needs to be finished by itself.
struct Provision<M: Market> {
    market: M,
    registrar: Arc<Registrar>,
    permit: M::Permit,
    store: Store,
    config: Arc<Config>,
    clock: Clock,
    token: Token,
    row: UnitRow,
    wish: Wish,
    call: ProvisionCall,
    /// When it is tried again if nothing came of it.
    retry_at: Timestamp,
}

impl<M: Market + Clone + 'static> Executor<M> {
    pub(super) async fn provision(&mut self, row: &UnitRow, account: &str) -> Result<Done, Error> {
        let Some(product) = self.config.products.get(&row.line.product_code).cloned() else {
            return Ok(Done::Same);
        };
        let retry_at = self.later(&row.id);
        // Nothing is sent before this ends, and it may take minutes.
        let permit = match self.market.permit().await {
            Ok(permit) => permit,
            Err(error) => return self.put_off(row, &error, retry_at).await,
        };
        let listed = self.store.marks().await?;
        let wish = Wish {
            unit_id: row.id.clone(),
            product_code: row.line.product_code.clone(),
            product_id: product.product_id,
            prefix: product.prefix.clone(),
            erp_no: account.to_owned(),
            listed_at: listed.get(super::round::DEVICES).copied(),
        };
        if let Some(done) = self.recovered(row).await? {
            return Ok(done);
        }
        let provision = Provision {
            registrar: Arc::clone(&self.registrar),
            market: self.market.clone(),
            permit,
            store: self.store.clone(),
            config: Arc::clone(&self.config),
            clock: Arc::clone(&self.clock),
            token: self.token,
            row: row.clone(),
            wish,
            call: ProvisionCall {
                product_id: product.product_id,
                erp_no: account.to_owned(),
                hardware_id: product.hardware_id,
                promo_code: product.promo_code,
                sub_plan: product.sub_plan,
            },
            retry_at,
        };
        let within = Duration::from_secs(self.config.finish_s);
        self.calls.begin(provision.made(within)).await
    }

    /// The call could not leave: no session, or no room in the rate limits. No intent was written.
    async fn put_off(
        &self,
        row: &UnitRow,
        error: &myadmin::Error,
        retry_at: Timestamp,
    ) -> Result<Done, Error> {
        tracing::warn!(unit = %row.id, %error, "provisioning failed; retrying later");
        let mut change = self.change().await?;
        let cause = Cause::new("put-off", error.to_string());
        change
            .put_retry(row, row.attempts + 1, Some(retry_at), cause)
            .await?;
        change.commit().await?;
        Ok(Done::Changed)
    }
}

impl<M: Market> Provision<M> {
    /// Writes the intent, makes the call, writes the answer; a store that fails is tried again for as long as `within`.
    async fn made(self, within: Duration) -> Result<Done, Error> {
        let Some(intent) = self.intend().await? else {
            return Ok(Done::Same);
        };
        if let Err(error) = self.registrar.witness().await {
            let error = format!("{error:#}");
            return self.unwitnessed(intent, &error).await;
        }
        let Self {
            market,
            permit,
            store,
            config,
            clock,
            row,
            call,
            retry_at,
            ..
        } = self;
        let answer = market.provision(&call, permit).await;
        metrics::count_provision(match &answer {
            Ok(Provisioning::Provisioned { .. }) => "provisioned",
            Ok(Provisioning::Declined { .. }) => "declined",
            Ok(Provisioning::Nothing) => "nothing",
            Err(error) if error.may_have_effects() => "lost",
            Err(_) => "failed",
        });
        let answered = Answered {
            store,
            config,
            clock,
            row,
            intent,
            answer,
            retry_at,
        };
        let mut tries = Tries::new(within);
        loop {
            match answered.write().await {
                Err(error) if tries.again(&error).await => {}
                Err(error) => {
                    let (unit, answer) = (&answered.row.id, &answered.answer);
                    tracing::error!(%unit, ?answer, %error, "the answer of a provisioning call could not be written; it is in doubt now");
                    return Err(error);
                }
                done => return done,
            }
        }
    }

    /// The registry does not have the intent's generation: the call is not made.
    async fn unwitnessed(&self, intent: i64, error: &str) -> Result<Done, Error> {
        let row = &self.row;
        tracing::warn!(unit = %row.id, %error, "the registry does not know of a provisioning call yet; it is not made");
        let now = (self.clock)();
        // Under nobody's lease: that it was not made is a fact.
        let mut change = self.store.change(Actor::Reconciler, None, now).await?;
        let evidence = json!({ "error": error, "intent": intent });
        let (open, none) = (Outcome::Open, Outcome::WithoutEffect);
        change
            .close_intent(intent, open, none, None, Some(&evidence))
            .await?;
        let unit = change.unit(&row.id).await?;
        let cause = Cause::new(
            "put-off",
            format!("the registry could not be told of the call: {error}"),
        );
        change
            .put_retry(&unit, unit.attempts + 1, Some(self.retry_at), cause)
            .await?;
        change.commit().await?;
        Ok(Done::Changed)
    }

    /// The intent, committed; none if it may not be called for now.
    async fn intend(&self) -> Result<Option<i64>, Error> {
        let (row, wish) = (&self.row, &self.wish);
        let now = (self.clock)();
        let mut change = self
            .store
            .change(Actor::Reconciler, Some(self.token), now)
            .await?;
        let order = change.order(&row.order_id).await?;
        let unit = change.unit(&row.id).await?;
        let fits = order.order.clear().is_some()
            && unit.version == row.version
            && matches!(unit.unit, Unit::Live(Live::Ordered(_)));
        if !fits || change.open_intents(&wish.product_code).await? > 0 {
            return Ok(None);
        }
        let own = change.intents_of(&row.id).await?;
        let in_doubt =
            |intent: &IntentRow| matches!(intent.outcome, Outcome::Open | Outcome::Unresolved);
        if own.iter().any(in_doubt) {
            return Ok(None);
        }
        let id = change.begin_intent(wish).await?;
        let evidence =
            json!({ "intent": id, "product_id": wish.product_id, "erp_no": wish.erp_no });
        let cause = Cause::new("intend", "to be provisioned").with(evidence);
        change
            .note(Some(&row.order_id), Some(&row.id), cause)
            .await?;
        change.commit().await?;
        Ok(Some(id))
    }
}

impl<M: Market + Clone + 'static> Executor<M> {
    pub(super) async fn adopt(
        &self,
        intent: &IntentRow,
        serial: &Serial,
        evidence: &Value,
    ) -> Result<Done, Error> {
        let mut change = self.change().await?;
        if !unchanged(&mut change, intent).await? {
            return Ok(Done::Same);
        }
        let row = change.unit(&intent.wish.unit_id).await?;
        change
            .close_intent(
                intent.id,
                Outcome::Open,
                Outcome::Adopted,
                Some(serial),
                Some(evidence),
            )
            .await?;
        let why = "adopted: the one new serial since its call, whose answer was lost";
        give(&mut change, &row, serial, why, evidence.clone()).await?;
        change.commit().await?;
        metrics::count_provision("adopted");
        tracing::warn!(unit = %row.id, %serial, "{why}");
        Ok(Done::Changed)
    }

    pub(super) async fn doubt(&self, intent: &IntentRow, evidence: &Value) -> Result<Done, Error> {
        let mut change = self.change().await?;
        if !unchanged(&mut change, intent).await? {
            return Ok(Done::Same);
        }
        let row = change.unit(&intent.wish.unit_id).await?;
        change
            .close_intent(
                intent.id,
                Outcome::Open,
                Outcome::Unresolved,
                None,
                Some(evidence),
            )
            .await?;
        let text = format!(
            "the answer of a provisioning call at {} was lost, and {}",
            intent.begun_at,
            evidence["why"]
                .as_str()
                .unwrap_or("it is not clear what came of it")
        );
        if park(
            &mut change,
            &row,
            Reason::new(Code::LostAnswer, &*text),
            evidence.clone(),
        )
        .await?
            == Done::Same
        {
            change
                .alarm("lost-answer", &row.id, &text, Some(evidence))
                .await?;
        }
        change.commit().await?;
        Ok(Done::Changed)
    }
}
