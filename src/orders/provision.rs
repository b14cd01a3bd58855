//! Provisioning: the one call that cannot be repeated (P1).
//!
//! 1. The intent is committed, under the lease, before the call, and its generation is published. If either cannot be done, there
//!    is no call (P3).
//! 2. One call for one unit. At most one call per product is open, so that an orphan can be told whose it is.
//! 3. The answer is committed before anything else is done. It is a fact: it is written whoever holds the lease by then.
//! 4. A call whose answer was lost stays open and is never repeated; `reconcile::doubt` concludes.
//!
//! A crash, or a dropped future, between any two of these leaves an open intent at worst.

use std::time::Duration;

use serde_json::{Value, json};

use super::apply::{Done, Hand, park, unchanged};
use super::journey::unit::Unit;
use super::journey::way::Live;
use super::journey::{Actor, Code, Reason, Serial};
use super::market::Market;
use super::store::Error;
use super::store::change::{Cause, Change};
use super::store::intents::{IntentRow, Outcome, Wish};
use super::store::rows::UnitRow;
use crate::myadmin;
use crate::myadmin::wire::{ProvisionCall, Provisioning};
use crate::ops::metrics::orders as metrics;

/// How often an answer is tried to be written while the store fails, and the first wait between.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_millis(50);

impl<M: Market> Hand<M> {
    pub(super) async fn provision(&mut self, row: &UnitRow, account: &str) -> Result<Done, Error> {
        let Some(product) = self.config.products.get(&row.line.product_code).cloned() else {
            return Ok(Done::Same);
        };
        let wish = Wish {
            unit_id: row.id.clone(),
            product_code: row.line.product_code.clone(),
            product_id: product.product_id,
            prefix: product.prefix.clone(),
            erp_no: account.to_owned(),
            listed_at: self.store.marks().await?.get("devices-listed").copied(),
        };
        if let Some(done) = self.recovered(row).await? {
            return Ok(done);
        }
        let Some(intent) = self.intend(row, &wish).await? else {
            return Ok(Done::Same);
        };
        if let Err(error) = self.registrar.witness().await {
            let error = format!("{error:#}");
            return self.unwitnessed(intent, row, &error).await;
        }
        let call = ProvisionCall {
            product_id: product.product_id,
            erp_no: account.to_owned(),
            hardware_id: product.hardware_id,
            promo_code: product.promo_code,
            sub_plan: product.sub_plan,
        };
        let answer = self.market.provision(&call).await;
        metrics::count_provision(match &answer {
            Ok(Provisioning::Provisioned { .. }) => "provisioned",
            Ok(Provisioning::Declined { .. }) => "declined",
            Ok(Provisioning::Nothing) => "nothing",
            Err(error) if error.may_have_effects() => "lost",
            Err(_) => "failed",
        });
        let retry_at = self.later(&row.id);
        let mut wait = WAIT;
        for tried in 1.. {
            match self.write_answer(intent, row, &answer, retry_at).await {
                Ok(done) => return Ok(done),
                // Also after a commit whose answer was lost: writing it twice changes nothing.
                Err(error) if error.retryable() && tried < TRIES => {
                    tracing::error!(unit = %row.id, ?answer, %error, "the answer of a provisioning call is not written yet");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                Err(error) => {
                    tracing::error!(unit = %row.id, ?answer, %error, "the answer of a provisioning call could not be written; it is in doubt now");
                    return Err(error);
                }
            }
        }
        Ok(Done::Same)
    }

    /// The registry does not have the intent's generation: the call is not made.
    async fn unwitnessed(
        &mut self,
        intent: i64,
        row: &UnitRow,
        error: &str,
    ) -> Result<Done, Error> {
        tracing::warn!(unit = %row.id, %error, "the registry does not know of a provisioning call yet; it is not made");
        let retry_at = self.later(&row.id);
        let mut change = self.change().await?;
        let evidence = json!({ "error": error, "intent": intent });
        let (open, none) = (Outcome::Open, Outcome::WithoutEffect);
        change
            .close_intent(intent, open, none, None, Some(&evidence))
            .await?;
        let unit = change.unit(&row.id).await?;
        let why = format!("the registry could not be told of the call: {error}");
        change
            .put_retry(
                &unit,
                unit.attempts + 1,
                Some(retry_at),
                Cause::new("put-off", why),
            )
            .await?;
        change.commit().await?;
        Ok(Done::Changed)
    }

    /// The intent, committed; none if it may not be called for now.
    async fn intend(&self, row: &UnitRow, wish: &Wish) -> Result<Option<i64>, Error> {
        let mut change = self.change().await?;
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

    async fn write_answer(
        &self,
        id: i64,
        called: &UnitRow,
        answer: &Result<Provisioning, myadmin::Error>,
        retry_at: jiff::Timestamp,
    ) -> Result<Done, Error> {
        let now = (self.clock)();
        let mut change = self.store.change(Actor::Reconciler, None, now).await?;
        let row = change.unit(&called.id).await?;
        let Some(intent) = change
            .intents_of(&row.id)
            .await?
            .into_iter()
            .find(|intent| intent.id == id)
        else {
            return Ok(Done::Same);
        };
        let lost = matches!(answer, Err(error) if error.may_have_effects());
        // Somebody concluded without us, or an earlier try was written after all.
        if intent.outcome != Outcome::Open && (lost || intent.serial.is_some()) {
            return Ok(Done::Same);
        }
        let from = intent.outcome;
        match answer {
            Ok(Provisioning::Provisioned { serial }) => {
                let evidence = json!({ "serial": serial, "intent": id });
                match claim(&mut change, serial).await? {
                    Ok(serial) => {
                        change
                            .close_intent(
                                id,
                                from,
                                Outcome::Answered,
                                Some(&serial),
                                Some(&evidence),
                            )
                            .await?;
                        give(&mut change, &row, &serial, "MyAdmin gave it", evidence).await?;
                    }
                    Err(why) => {
                        change
                            .close_intent(id, from, Outcome::Unresolved, None, Some(&evidence))
                            .await?;
                        park(&mut change, &row, Reason::new(Code::Serial, why), evidence).await?;
                    }
                }
            }
            Ok(Provisioning::Declined { error }) => {
                let evidence = json!({ "declined": error, "intent": id });
                change
                    .close_intent(id, from, Outcome::Refused, None, Some(&evidence))
                    .await?;
                if self.config.provision.retry_codes.contains(error) {
                    let cause = Cause::new("put-off", format!("declined: {error}"));
                    change
                        .put_retry(&row, row.attempts + 1, Some(retry_at), cause)
                        .await?;
                } else {
                    let reason =
                        Reason::new(Code::Declined, format!("MyAdmin declined: {error:?}"));
                    park(&mut change, &row, reason, evidence).await?;
                }
            }
            Ok(Provisioning::Nothing) => {
                let evidence = json!({ "declined": null, "intent": id });
                change
                    .close_intent(id, from, Outcome::Refused, None, Some(&evidence))
                    .await?;
                let text = "MyAdmin gave no result, which it gives when nothing was provisioned";
                park(
                    &mut change,
                    &row,
                    Reason::new(Code::Declined, text),
                    evidence,
                )
                .await?;
            }
            Err(error) if !error.may_have_effects() => {
                let evidence = json!({ "error": error.to_string(), "intent": id });
                change
                    .close_intent(id, from, Outcome::WithoutEffect, None, Some(&evidence))
                    .await?;
                if error.retryable() {
                    let cause = Cause::new("put-off", error.to_string());
                    change
                        .put_retry(&row, row.attempts + 1, Some(retry_at), cause)
                        .await?;
                } else {
                    let reason = Reason::new(Code::Declined, error.to_string());
                    park(&mut change, &row, reason, evidence).await?;
                }
            }
            Err(error) => {
                let evidence = json!({ "error": error.to_string(), "intent": id });
                let cause = Cause::new(
                    "answer-lost",
                    "it may have been provisioned; cleared up by what is listed",
                )
                .with(evidence);
                tracing::warn!(unit = %row.id, %error, "the answer of a provisioning call was lost");
                change
                    .note(Some(&row.order_id), Some(&row.id), cause)
                    .await?;
            }
        }
        change.commit().await?;
        Ok(Done::Changed)
    }

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

/// The serial, if it can be one and nobody has it.
async fn claim(change: &mut Change, text: &str) -> Result<Result<Serial, String>, Error> {
    let serial = match Serial::parse(text) {
        Ok(serial) => serial,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match change.unit_with(serial.as_str()).await? {
        None => Ok(serial),
        Some(other) => Err(format!(
            "MyAdmin gave serial {serial}, which unit {} has",
            other.id
        )),
    })
}

/// Gives a unit its serial, wherever a person has put it meanwhile.
async fn give(
    change: &mut Change,
    row: &UnitRow,
    serial: &Serial,
    why: &str,
    evidence: Value,
) -> Result<(), Error> {
    let unit = match row.unit.clone() {
        Unit::Live(Live::Ordered(unit)) => {
            Unit::Live(Live::Provisioned(unit.provision(serial.clone())))
        }
        Unit::Parked(parked) => match parked.before {
            Live::Ordered(unit) => {
                let live = Live::Provisioned(unit.provision(serial.clone()));
                if parked.reason.code == Code::LostAnswer {
                    Unit::Live(live)
                } else {
                    Unit::Parked(live.park(parked.reason))
                }
            }
            other => Unit::Parked(other.park(parked.reason)),
        },
        Unit::Cancelled(mut cancelled) if cancelled.known.serial.is_none() => {
            cancelled.known.serial = Some(serial.clone());
            Unit::Cancelled(cancelled)
        }
        other => other,
    };
    if unit.serial().as_ref() != Some(serial) {
        let said = format!(
            "serial {serial} was made for unit {}, which has another one",
            row.id
        );
        change
            .alarm("orphan-serial", serial.as_str(), &said, Some(&evidence))
            .await?;
        return Ok(());
    }
    if let Unit::Cancelled(_) = unit {
        let said = "its serial was made while its order was cancelled: have the serial terminated";
        change
            .alarm("cancelled-serial", &row.id, said, Some(&evidence))
            .await?;
    }
    let cause = Cause::new("provision", why).with(evidence);
    change.put_unit(row, unit, cause).await?;
    Ok(())
}
