//! Orders in a scenario: a simulated marketplace beside the gateway, and the people of both sides of it.

use dig_ingest::orders::store::{self, Store};
use dig_ingest::sim::market::{self, Cart};
use dig_ingest::sim::{self, Settings};
use serde_json::Value;

use super::broker::Broker;
use super::child::{ask, told};
use super::world::World;

/// What the orders' API asks for.
const TOKEN: &str = "0123456789abcdef-trade";
/// Seconds a silent instance keeps the lease.
pub const LEASE_S: u64 = 3;

/// A world whose devices must be ordered, provisioned and put into a database before they may send. Nothing in it waits longer than
/// a test should.
pub fn open(broker: &Broker, partitions: i32) -> World<'_> {
    let gateway = sim::Config {
        settings: Settings {
            market: true,
            auth_per_minute: 0,
            ..Settings::default()
        },
        market: market::Config {
            settings: market::Settings {
                visible_max_ms: 500,
                sheet_every_s: 1,
                sheet_at_s: 0,
                ..market::Settings::prompt()
            },
            ..market::Config::default()
        },
        ..sim::Config::default()
    };
    let mut world = World::beside(broker, partitions, gateway);
    let url = world.gateway.url();
    let quoted = |text: &str| format!("{text:?}");
    let password = world.file("myadmin-password", market::PASSWORD);
    let tokens = world.file("tokens", &format!("ann {TOKEN}\n"));
    let store = world.path("orders.db");
    made(&store);
    let devices = format!("{}.devices", world.topic);
    if broker.is_mock() {
        broker.topic(&devices, 1, &[]);
    }
    let no_limit = quoted("none");
    for (key, value) in [
        ("gate.mode", quoted("registry")),
        ("topics.devices", quoted(&devices)),
        ("batch.max_records", "200".to_owned()),
        ("myadmin.url", quoted(&url)),
        (
            "myadmin.rest_url",
            quoted(&format!("{url}/api/v3/shipping/partner")),
        ),
        ("myadmin.username", quoted("integrator@example.com")),
        ("myadmin.password_file", quoted(&password.to_string_lossy())),
        ("myadmin.provision_timeout_s", "3".to_owned()),
        ("myadmin.request_timeout_s", "5".to_owned()),
        ("myadmin.backoff_ms", "50".to_owned()),
        ("myadmin.backoff_max_ms", "500".to_owned()),
        ("myadmin.throttle_pause_s", "1".to_owned()),
        ("myadmin.limits.all", no_limit.clone()),
        ("myadmin.limits.v2", no_limit.clone()),
        ("myadmin.limits.v3", no_limit.clone()),
        ("myadmin.limits.rest", no_limit.clone()),
        ("myadmin.limits.Authenticate", no_limit),
        ("orders.enabled", "true".to_owned()),
        ("orders.accounts", format!("[{:?}]", market::PARTNER)),
        (
            "orders.products.CTD-100",
            "{ product_id = 10032, prefix = \"CX\" }".to_owned(),
        ),
        (
            "orders.products.CTD-200",
            "{ product_id = 10184, prefix = \"C8\" }".to_owned(),
        ),
        ("orders.orders_every_s", "1".to_owned()),
        ("orders.readiness_every_s", "1".to_owned()),
        ("orders.devices_every_s", "1".to_owned()),
        ("orders.backoff_s", "1".to_owned()),
        ("orders.backoff_max_s", "4".to_owned()),
        ("orders.lease_s", LEASE_S.to_string()),
        ("orders.provision.visible_after_s", "2".to_owned()),
        ("orders.fulfilment.mode", quoted("api")),
        ("orders.store.file", quoted(&store.to_string_lossy())),
        ("orders.web.enabled", "true".to_owned()),
        ("orders.web.listen", quoted("127.0.0.1:0")),
        ("orders.web.token_file", quoted(&tokens.to_string_lossy())),
        (
            "orders.terminations.url",
            quoted(&format!("{url}/control/market/terminations.csv")),
        ),
        ("orders.terminations.every_s", "1".to_owned()),
        ("orders.terminations.allow_empty", "true".to_owned()),
    ] {
        world.set(key, &value);
    }
    world
}

/// Makes an empty orders store, as `orders init` does.
fn made(file: &std::path::Path) {
    let config = store::Config {
        file: file.to_owned(),
        ..store::Config::default()
    };
    super::broker::block_on(async {
        let store = Store::init(&config).await.expect("a store");
        store.close().await;
    });
}

/// A customer orders, and the Partner approves. The order's id.
pub fn ordered(world: &World<'_>, product: &str, quantity: u32) -> u64 {
    world.gateway.market(|market, now| {
        let order = market
            .order(&Cart::of(product, quantity), now)
            .expect("a product");
        market.approve(order, now).expect("not decided yet");
        order
    })
}

/// One request to the orders' API of an instance, such as `GET /api/orders`; panics unless it is done.
pub fn desk(address: &str, request: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, answer) = told(&ask(address, request, TOKEN, &body));
    assert_eq!(status, 200, "{request} {body}: {answer:#}");
    answer
}
