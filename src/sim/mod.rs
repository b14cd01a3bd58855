//! The simulated gateway: a world (plain truth, no HTTP), a face (HTTP, thin), and scripted faults on the way between them.
//!
//! Part of the product, because nobody can test on the real gateway. The same one serves `dig-ingest sim`, the demo and the
//! tests; its ledger of accepted records, in arrival order, is what loss and order are judged by. What the published
//! sources leave open is a setting with the assumption of dig/API.md section 14 ([`Settings`]).
//!
//! It has wire types of its own and knows neither the client nor the pipeline: two readings of one specification that must agree.
//! The control API is described in [`control`]; [`Handle`] does the same in process.
//!
//! Memory: with [`Keep::Full`] every record stays until `reset`. Nothing is written to disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;

use crate::http::descriptors;
use crate::http::server::{self, Limits, Server};

pub mod answers;
pub mod control;
pub mod counters;
mod cursor;
mod dig;
mod escapes;
pub mod faults;
pub mod instants;
pub mod invalid;
mod kinds;
pub mod ledger;
mod listener;
pub mod market;
mod myadmin;
pub mod operation;
mod overlap;
mod partner;
pub mod poison;
mod query;
mod request_pipeline;
mod scan;
pub mod serials;
mod sessions;
pub mod settings;
pub mod tap;
pub mod world;

pub use counters::Snapshot;
pub use faults::{Action, BodyKind, CutAt, Delay, Loss, Operation, RetryAfter, Rule};
pub use ledger::{Digest, LedgerLine, Standing};
pub use poison::Poison;
pub use serials::{Mark, State};
pub use settings::{Account, Config, EmptyForm, Keep, Settings};
pub use tap::Exchange;

use listener::Open;
use request_pipeline::Face;
use world::World;

/// A running simulator. Dropping it leaves it running until its runtime ends; [`Handle::stop`] ends it.
pub struct Handle {
    address: std::net::SocketAddr,
    face: Arc<Face>,
    open: Open,
    server: Server,
}

/// Connections at the same time; each takes two descriptors, and few programs but the clients under test use them.
const CONNECTIONS: usize = 1024;
/// Bytes of a request's head, and of what is read at once of its body.
const HEAD_BYTES: usize = 400 * 1024;
/// How long connections may take to close by themselves when the simulator stops.
const FAREWELL: Duration = Duration::from_millis(500);

/// Starts a simulator on the current runtime.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(config: Config) -> anyhow::Result<Handle> {
    let (listener, address) = server::listen("the simulator", config.listen).await?;
    let face = Arc::new(Face::new(Arc::new(World::new(&config))));
    let open = Open::default();
    let routes: Router = control::routes()
        .fallback(request_pipeline::answer)
        .with_state(face.clone());
    let limits = Limits {
        connections: descriptors::share(CONNECTIONS, 8),
        head_bytes: HEAD_BYTES,
        farewell: FAREWELL,
        ..Limits::reporting("sim")
    };
    let (met, world) = (open.clone(), face.world.clone());
    let server = server::serve(listener, routes, limits, move |stream| {
        world.counters.connections.fetch_add(1, Relaxed);
        met.meet(stream)
    });
    Ok(Handle {
        address,
        face,
        open,
        server,
    })
}

impl Handle {
    /// The base URL, e.g. `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Stops: requests that wait end, then connections are closed. Returns the counters at the end.
    pub async fn stop(self) -> Snapshot {
        let Self {
            face, open, server, ..
        } = self;
        face.stopping.cancel();
        server.stop().await;
        // What is left had no time to end by itself.
        open.cut();
        face.world.snapshot()
    }

    #[must_use]
    pub fn counters(&self) -> Snapshot {
        self.face.world.snapshot()
    }

    /// The world itself, for what has no method here.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.face.world
    }

    /// Every accepted record in arrival order; empty unless [`Keep::Full`].
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerLine> {
        self.world().ledger().lines()
    }

    /// What is known of each serial, ordered; empty with [`Keep::None`].
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        self.world().ledger().digests()
    }

    /// What is known of one serial; nothing before its first record.
    #[must_use]
    pub fn digest(&self, serial: &str) -> Option<Digest> {
        self.world().ledger().digest(serial).cloned()
    }

    /// The fault rules.
    #[must_use]
    pub fn faults(&self) -> FaultRules<'_> {
        FaultRules(self.world())
    }

    /// Starts an outage (every request gets this action) or ends it.
    pub fn outage(&self, action: Option<Action>) {
        self.world().faults().outage(action);
    }

    /// Blocks every bearer and spends every refresh token. Returns how many bearers were live.
    pub fn revoke_all_tokens(&self) -> usize {
        self.world()
            .sessions()
            .revoke_all(self.world().clock.now_us())
    }

    /// Blocks every bearer; refresh tokens still work. Returns how many bearers were live.
    pub fn block_all_bearers(&self) -> usize {
        self.world()
            .sessions()
            .block_bearers(self.world().clock.now_us())
    }

    /// Expires every bearer, and with `refresh_too` every refresh token. Returns how many bearers were live.
    pub fn expire_all_tokens(&self, refresh_too: bool) -> usize {
        self.world()
            .sessions()
            .expire_all(self.world().clock.now_us(), refresh_too)
    }

    /// Requests with such a record get 400 from now on.
    pub fn poison(&self, poison: Poison) {
        self.world().poisons.change(|all| all.add(poison));
    }

    pub fn clear_poison(&self) {
        self.world().poisons.change(poison::Poisons::clear);
    }

    /// Sets what the world thinks of one serial.
    pub fn mark_serial(&self, serial: &str, state: State) {
        let mark = Mark {
            serial: Some(serial.to_owned()),
            prefix: None,
            state,
        };
        self.world().serials.change(|all| all.mark(&mark));
    }

    /// Sets what the world thinks of all serials that start so.
    pub fn mark_prefix(&self, prefix: &str, state: State) {
        let mark = Mark {
            serial: None,
            prefix: Some(prefix.to_owned()),
            state,
        };
        self.world().serials.change(|all| all.mark(&mark));
    }

    /// Changes settings while it runs.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.world().settings.change(change);
    }

    /// An act on the market, or a look at it, at the world's time.
    pub fn market<R>(&self, act: impl FnOnce(&mut market::Market, i64) -> R) -> R {
        let now = self.world().clock.now_us();
        let result = act(&mut self.world().market_mut(), now);
        self.world().touch();
        result
    }

    /// Ends every session of MyAdmin. Returns how many there were.
    pub fn expire_myadmin_sessions(&self) -> usize {
        self.world().logins().expire_all()
    }

    /// Moves the world's time forward.
    pub fn advance(&self, by: Duration) {
        self.world().clock.advance(by);
    }

    /// Invalid records that show by now, and those still to come.
    #[must_use]
    pub fn invalid_counts(&self) -> (usize, usize) {
        let world = self.world();
        world
            .invalid()
            .counts(world.clock.now_us(), &world.settings.get())
    }

    /// Cuts every open connection, idle ones included.
    pub fn cut_connections(&self) {
        self.open.cut();
    }

    /// Forgets ledger, invalid records, faults, outage, poison, serials, orders and devices.
    pub fn reset(&self) {
        self.world().reset();
    }

    /// Keeps the last `most` exchanges from now on; 0 stops and forgets.
    pub fn tap(&self, most: usize) {
        self.face.tap.keep(most);
    }

    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.face.tap.exchanges()
    }

    /// Waits until the counters meet a condition; false when `within` passes first.
    pub async fn until(&self, within: Duration, condition: impl Fn(&Snapshot) -> bool) -> bool {
        let mut changes = self.world().changes();
        let met = async {
            while !condition(&self.counters()) {
                // Never closed while this handle lives.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(within, met).await.is_ok()
    }
}

/// The fault rules of a running simulator.
pub struct FaultRules<'a>(&'a World);

impl FaultRules<'_> {
    /// Appends a rule and returns its id.
    ///
    /// # Panics
    /// On a rule that could never be judged: the script itself is wrong.
    pub fn push(&self, rule: Rule) -> u64 {
        let pushed = self.0.faults().push(rule, self.0.clock.now_us());
        pushed.unwrap_or_else(|wrong| panic!("a fault rule is wrong: {wrong}"))
    }

    /// Removes one rule; true if it was there.
    pub fn remove(&self, id: u64) -> bool {
        self.0.faults().remove(id)
    }

    pub fn clear(&self) {
        self.0.faults().clear();
    }

    /// How often a rule was applied; 0 when it is gone.
    #[must_use]
    pub fn applied(&self, id: u64) -> u64 {
        self.0
            .faults()
            .rules()
            .iter()
            .find(|armed| armed.id == id)
            .map_or(0, |armed| armed.applied)
    }
}
