//! A running operations server with the page, the orders API on a store in a file, and a registry of devices.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dig_ingest::config::Settings;
use dig_ingest::http::mount::Mounted;
use dig_ingest::ops::status_registry::StatusRegistry;
use dig_ingest::ops::{self, metrics, web as pages};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::{self, wall_clock, web};
use dig_ingest::page::{self, Mounts};
use dig_ingest::pipeline::gate;
use dig_ingest::registry::{Device, Snapshot, State};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::watch;

use crate::orders::{desk, recover::Said};

/// A device id and a serial of somebody who wants the page to run it.
pub const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";
pub const TOKEN: &str = "0123456789abcdef-ann";

/// See the module's documentation. Stopped by [`Site::end`].
pub struct Site {
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub store: Store,
    pub board: Arc<StatusRegistry>,
    handle: pages::Handle,
    _mounted: [Mounted; 2],
    _registry: watch::Sender<Arc<Snapshot>>,
}

fn device(id: &str, serial: Option<&str>, state: State) -> Device {
    Device {
        device_id: id.into(),
        serial: serial.map(Into::into),
        state,
        order: None,
        since: None,
    }
}

impl Site {
    pub async fn start(folder: &Path) -> Self {
        Self::with(folder, |_| {}).await
    }

    /// With a token of ann, beyond this machine.
    pub async fn with_token(folder: &Path) -> Self {
        let tokens = folder.join("page-tokens");
        std::fs::write(&tokens, format!("ann {TOKEN}\n")).unwrap();
        Self::with(folder, |ops| {
            ops.listen = "0.0.0.0:0".parse().unwrap();
            ops.page.token_file = tokens;
        })
        .await
    }

    pub async fn with(folder: &Path, change: impl FnOnce(&mut ops::Config)) -> Self {
        let (_, store) = desk::filled(folder).await;
        let mut config = ops::Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..ops::Config::default()
        };
        change(&mut config);
        let mounts = Mounts::default();
        let api = web::mounted(
            Arc::new(orders::Config::default()),
            store.clone(),
            Said::nothing().outside(),
            wall_clock(),
        );
        let devices = [
            device("truck-1", Some("CX0000000001"), State::Active),
            device(HOSTILE, Some("CX0000000002"), State::Pending),
        ];
        let (registry, feed) = watch::channel(Arc::new(Snapshot::new(&devices).unwrap()));
        let gate = gate::Config {
            mode: gate::Mode::Registry,
            ..gate::Config::default()
        };
        let board = StatusRegistry::new(Instant::now());
        board.set_assigned(true);
        board.set_logged_in(true);
        board.set_registry_read(true);
        let devices = page::devices::router(feed, gate, Arc::clone(&board));
        let mounted = [mounts.orders.fill(api), mounts.devices.fill(devices)];
        // Nobody answers there: the letters say so.
        let settings = Settings::load_from(None, [], &["kafka.brokers=127.0.0.1:1".to_owned()]);
        let letters = page::letters::router(page::letters::Reader::of(&settings.unwrap()));
        let exposition = metrics::install().unwrap();
        let router = page::router(
            &config,
            exposition.clone(),
            Arc::clone(&board),
            mounts,
            letters,
        )
        .unwrap();
        let handle = pages::start(&config, Arc::clone(&board), exposition, router)
            .await
            .unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = handle.address().port();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            store,
            board,
            handle,
            _mounted: mounted,
            _registry: registry,
        }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request with these headers; status, headers and body.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.origin()))
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    /// The JSON of a request that must have this status.
    pub async fn json(
        &self,
        (method, path, status): (Method, &str, u16),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Value {
        let (got, _, text) = self.ask(method, path, headers, body).await;
        assert_eq!(got, status, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    pub async fn end(self) {
        self.handle.stop().await;
        self.store.close().await;
    }
}
