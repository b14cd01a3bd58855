//! Sheets of terminations that wait for a person: listed, shown, accepted, refused. The rules are those of `dig-ingest orders sheet`:
//! without `"yes": true` it is only shown what would be done.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::ApiState;
use super::fields::{Asked, Body, Fields, Named};
use super::operator_tasks::{Answer, Who};
use super::problem::Problem;
use crate::orders::journey::Actor;
use crate::orders::store::Error;
use crate::orders::store::judged::JudgedRow;
use crate::orders::terminations::Means;
use crate::orders::terminations::decide::{self, Preview};

impl ApiState {
    fn means(&self) -> Means<'_> {
        Means {
            store: &self.store,
            ask: &self.outside.ask,
            config: &self.config.terminations,
            own: &self.own,
        }
    }
}

pub(super) async fn list(State(desk): State<ApiState>, asked: Asked) -> Answer {
    let all = Fields::query(asked, &["all"])?.flag("all")?;
    let sheets = desk.store.judged_sheets(!all).await?;
    let vanished = desk.store.vanished().await?;
    Ok(Json(json!({ "sheets": sheets, "vanished": vanished })).into_response())
}

pub(super) async fn show(State(desk): State<ApiState>, Named(name): Named) -> Answer {
    let row = found(&desk, &name).await?;
    let preview = decide::preview(desk.means(), &row, (desk.clock)()).await?;
    Ok(shown(&preview, false))
}

pub(super) async fn accept(
    State(desk): State<ApiState>,
    Extension(by): Who,
    Named(name): Named,
    body: Body,
) -> Answer {
    decided(&desk, &by, &name, body, Decision::Accept).await
}

pub(super) async fn refuse(
    State(desk): State<ApiState>,
    Extension(by): Who,
    Named(name): Named,
    body: Body,
) -> Answer {
    decided(&desk, &by, &name, body, Decision::Refuse).await
}

#[derive(Debug, Clone, Copy)]
enum Decision {
    Accept,
    Refuse,
}

async fn decided(
    desk: &ApiState,
    by: &Actor,
    name: &str,
    body: Body,
    decision: Decision,
) -> Answer {
    let yes = Fields::body(body, &["yes"])?.choice("yes")?;
    let row = found(desk, name).await?;
    let (means, now) = (desk.means(), (desk.clock)());
    let preview = match (yes, decision) {
        (false, _) => decide::preview(means, &row, now).await?,
        (true, Decision::Accept) => decide::accept(means, &row, by, now).await?,
        (true, Decision::Refuse) => decide::refuse(means, &row, by, now).await?,
    };
    Ok(shown(&preview, yes))
}

/// The sheet, or that there is none of this name.
async fn found(desk: &ApiState, name: &str) -> Result<JudgedRow, Problem> {
    match decide::find(&desk.store, name).await {
        Err(Error::Refused(refusal)) if refusal.what == decide::NONE => {
            let remedy = "GET /api/sheets?all=true lists them";
            Err(Problem::missing("sheet", name, remedy))
        }
        found => Ok(found?),
    }
}

fn shown(preview: &Preview, done: bool) -> Response {
    Json(json!({ "sheet": preview, "done": done })).into_response()
}
