//! Recovering a store that is not proven (P3): `GET` shows the plan, `POST` accepts it, as `dig-ingest orders recover` does.
//!
//! One at a time: each reads the device registry whole. Another one waits for its turn, within the time of its answer.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::IntoResponse as _;

use super::ApiState;
use super::fields::{Body, Fields};
use super::operator_tasks::{Answer, Who};
use super::problem::Problem;
use super::token::NAMELESS;
use crate::orders::journey::Actor;
use crate::orders::recall::{self, StillOpen};
use crate::orders::store::Error;

pub(super) async fn show(State(desk): State<ApiState>) -> Answer {
    recovery(&desk, None).await
}

pub(super) async fn accept(State(desk): State<ApiState>, Extension(by): Who, body: Body) -> Answer {
    let accept = Fields::body(body, &["accept"])?.choice("accept")?;
    if accept && by.name() == NAMELESS {
        let remedy = "write `NAME TOKEN` into orders.web.token_file and use that token";
        let what = "the token has no name, and the audit trail needs who accepted it";
        return Err(Problem::field("accept", None, what, remedy));
    }
    recovery(&desk, accept.then_some(&by)).await
}

async fn recovery(desk: &ApiState, accept: Option<&Actor>) -> Answer {
    let Ok(_turn) = desk.recoveries.acquire().await else {
        return Err(Problem::busy());
    };
    let within = Duration::from_secs(desk.config.web.answer_s);
    let (store, outside, config) = (&desk.store, &desk.outside, &desk.config);
    let done = recall::recover(store, &outside.witnesses, config, accept, within).await;
    let done = done.map_err(problem)?;
    Ok(Json(done.report()).into_response())
}

fn problem(error: anyhow::Error) -> Problem {
    match error.downcast::<StillOpen>() {
        Ok(StillOpen(questions)) => Problem::undecided(&questions),
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => Problem::from(error),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "a recovery could not be planned");
                Problem::unanswered()
            }
        },
    }
}
