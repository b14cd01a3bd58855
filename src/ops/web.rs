//! The operations pages over HTTP: `/metrics`, `/livez`, `/readyz`, `/status`.
//!
//! Thin: what they say is decided in [`super::health`]. Requests are answered from a snapshot; nothing here waits
//! for the pipeline, and connections are bounded by [`server`] (N1). Listens on loopback unless told otherwise; has no
//! authentication and shows no setting. The operator page (`crate::page`) is served beside them and guards its own paths.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::task::JoinHandle;

use super::Config;
use super::health::{Health, judge};
use super::metrics::{self, Exposition};
use super::status_registry::StatusRegistry;
use crate::http::server::{self, Limits, Server};

/// How often histograms are folded when nobody asks for `/metrics`, so that they do not grow without bound.
const UPKEEP: Duration = Duration::from_secs(5);

/// The running pages.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    server: Server,
    /// Folds histograms, for ever.
    upkeep: JoinHandle<()>,
}

impl Handle {
    /// The address the pages are served at, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering; requests under way are finished, within the server's bound.
    pub async fn stop(self) {
        self.server.stop().await;
        self.upkeep.abort();
    }
}

#[derive(Clone)]
struct Pages {
    board: Arc<StatusRegistry>,
    exposition: Exposition,
    stall_after: Duration,
    started: Instant,
}

/// Starts serving, with the operator page's paths or whatever else `beside` has.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(
    config: &Config,
    board: Arc<StatusRegistry>,
    exposition: Exposition,
    beside: Router,
) -> anyhow::Result<Handle> {
    let (listener, address) = server::listen("ops.listen", config.listen).await?;
    let pages = Pages {
        board,
        exposition: exposition.clone(),
        stall_after: Duration::from_secs(config.stall_after_s),
        started: Instant::now(),
    };
    let router = Router::new()
        .route("/metrics", get(scraped))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(job))
        .layer(axum::middleware::map_response(server::cleaned))
        .with_state(pages)
        .merge(beside);
    let server = server::serve(listener, router, Limits::reporting("ops"), |_| ());
    let upkeep = tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            exposition.fold();
        }
    });
    Ok(Handle {
        address,
        server,
        upkeep,
    })
}

impl Pages {
    fn judge(&self) -> Health {
        judge(&self.board.snapshot(), Instant::now(), self.stall_after)
    }
}

async fn scraped(State(pages): State<Pages>) -> Response {
    let content = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    metrics::health::judged(&pages.judge());
    (content, pages.exposition.render()).into_response()
}

async fn livez(State(pages): State<Pages>) -> Response {
    let health = pages.judge();
    let body = json!({ "live": health.live, "waits": health.waits });
    (code(health.live), Json(body)).into_response()
}

async fn readyz(State(pages): State<Pages>) -> Response {
    let health = pages.judge();
    let body = json!({ "ready": health.ready, "waits": health.waits });
    (code(health.ready), Json(body)).into_response()
}

async fn job(State(pages): State<Pages>) -> Response {
    let (snapshot, now) = (pages.board.snapshot(), Instant::now());
    let health = judge(&snapshot, now, pages.stall_after);
    let partitions: Vec<_> = snapshot
        .partitions
        .iter()
        .map(|partition| {
            json!({
                "topic": partition.topic,
                "partition": partition.partition,
                "totals": partition.totals,
                "in_hand": partition.totals.in_hand(),
                "held": partition.waiting,
                "watermark": partition.watermark,
                "position": partition.position,
                "pause": partition.pause,
                "progress_s_ago": now.saturating_duration_since(partition.progress).as_secs(),
            })
        })
        .collect();
    let orders = snapshot.journey.as_ref().map(|journey| {
        let mut shown = json!(journey.figures);
        if let Some(members) = shown.as_object_mut() {
            let ago = now.saturating_duration_since(journey.answered).as_secs();
            members.insert("answered_s_ago".to_owned(), json!(ago));
        }
        match &journey.trouble {
            Some(trouble) => json!({ "figures": shown, "trouble": trouble }),
            None => json!({ "figures": shown }),
        }
    });
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "up_s": now.saturating_duration_since(pages.started).as_secs(),
        "live": health.live,
        "ready": health.ready,
        "waits": health.waits,
        "group": snapshot.membership,
        "partitions": partitions,
        "log_changes": snapshot.log_changes,
        "orders": orders,
    });
    Json(body).into_response()
}

fn code(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::status::{Pause, Totals, Waiting};
    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    #[tokio::test]
    async fn the_pages_say_what_the_board_says() {
        // No time at all is allowed, so that the partition is stalled as soon as it has work.
        let start_of_time = Instant::now();
        let board = StatusRegistry::new(start_of_time);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            listen,
            stall_after_s: 0,
            ..Config::default()
        };
        let exposition = crate::ops::metrics::install().unwrap();
        let pages = start(&config, Arc::clone(&board), exposition, Router::new())
            .await
            .unwrap();
        let address = pages.address();

        assert_eq!(get(address, "/livez").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 503);
        board.set_assigned(true);
        board.set_logged_in(true);
        board.set_registry_read(true);
        assert_eq!(get(address, "/readyz").await.0, 200);

        let slot = board.open(
            &crate::topic_partition::TopicPartition::new("telemetry", 7),
            start_of_time,
        );
        slot.post(
            Totals {
                read: 3,
                ..Totals::default()
            },
            Some(12),
            start_of_time,
        );
        let (code, body) = get(address, "/livez").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (code, body["waits"][0]["subject"].as_str()),
            (503, Some("telemetry/7"))
        );
        slot.pause(Pause::Gateway, start_of_time);
        let (code, body) = get(address, "/livez").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (code, body["waits"][0]["kind"].as_str()),
            (200, Some("gateway"))
        );

        let waiting = Waiting {
            records: 41,
            bytes: 4_100,
            releasing: 2,
        };
        slot.hold(waiting, start_of_time);
        let (code, body) = get(address, "/status").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (code, body["partitions"][0]["in_hand"].as_u64()),
            (200, Some(3))
        );
        let held = json!({ "records": 41, "bytes": 4_100, "releasing": 2 });
        assert_eq!(body["partitions"][0]["held"], held);
        let (code, body) = get(address, "/metrics").await;
        assert_eq!(code, 200);
        assert!(body.contains("dig_ingest_build_version{version="), "{body}");
        assert!(body.contains("dig_ingest_ready 0"), "{body}");
        assert_eq!(get(address, "/").await.0, 404);

        pages.stop().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error_that_names_the_setting() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config {
            listen: taken.local_addr().unwrap(),
            ..Config::default()
        };
        let exposition = crate::ops::metrics::install().unwrap();
        let error = start(
            &config,
            StatusRegistry::new(Instant::now()),
            exposition,
            Router::new(),
        )
        .await
        .unwrap_err();
        assert!(
            format!("{error:#}").contains("ops.listen: cannot listen on"),
            "{error:#}"
        );
    }
}
