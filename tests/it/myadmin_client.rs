//! MyAdmin's client against the simulator: sessions here; limits, pages, refusals and what changes something below.
//!
//! Every test asks for the outcome and counts the calls that reached the simulator. Nothing here measures time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dig_ingest::config::secret::Secret;
use dig_ingest::myadmin::wire::{Order, OrderFilter, ProvisionCall, Window};
use dig_ingest::myadmin::{self, Client, Error, Kind, Needs, limits};
use dig_ingest::orders;
use dig_ingest::sim::market::{self, Cart};
use dig_ingest::sim::{self, Handle, Operation, Rule, Settings};

mod changes;
mod pages;
mod refusals;

/// A bound on a hang, never a measure.
const PATIENCE: Duration = Duration::from_secs(120);
const INTEGRATOR: &str = "integrator@example.com";
const PARTNER: &str = "partner@example.com";
/// `productId` of the simulator's plain device.
const PRODUCT: i64 = 10032;

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("given up after {PATIENCE:?}: {what}"))
}

async fn simulator(settings: market::Settings) -> Handle {
    let config = sim::Config {
        settings: Settings {
            market: true,
            ..Settings::default()
        },
        market: market::Config {
            settings,
            ..market::Config::default()
        },
        ..sim::Config::default()
    };
    let sim = sim::start(config).await.expect("a free port");
    sim.tap(10_000);
    sim
}

async fn prompt() -> Handle {
    simulator(market::Settings::prompt()).await
}

fn config(sim: &Handle) -> myadmin::Config {
    myadmin::Config {
        rest_url: format!("{}/api/v3/shipping/partner", sim.url()),
        url: sim.url(),
        username: INTEGRATOR.to_owned(),
        password: Secret::new(market::PASSWORD),
        limits: limits::Table::none(),
        backoff_ms: 1,
        backoff_max_ms: 5,
        ..myadmin::Config::default()
    }
}

fn client(sim: &Handle) -> Client {
    Client::new(&config(sim)).unwrap()
}

/// The partner, who may list contracts.
fn partner(sim: &Handle, change: impl FnOnce(&mut myadmin::Config)) -> Client {
    let mut config = myadmin::Config {
        username: PARTNER.to_owned(),
        ..config(sim)
    };
    change(&mut config);
    Client::new(&config).unwrap()
}

fn calls(sim: &Handle, operation: Operation) -> u64 {
    sim.counters()
        .requests
        .get(&operation)
        .copied()
        .unwrap_or(0)
}

fn logins(sim: &Handle) -> u64 {
    calls(sim, Operation::MyAdminAuthenticate)
}

/// An approved order for so many plain devices; its id.
fn ordered(sim: &Handle, units: u32) -> i64 {
    let id = sim.market(|market, now| {
        let id = market.order(&Cart::of("CTD-100", units), now).unwrap();
        market.approve(id, now).unwrap();
        id
    });
    i64::try_from(id).unwrap()
}

fn week() -> Window {
    Window::last(7, jiff::Timestamp::now())
}

async fn orders(client: &Client) -> Result<Vec<Order>, Error> {
    let every = OrderFilter::default();
    bounded("a list of orders", client.orders(week(), &every)).await
}

fn device() -> ProvisionCall {
    ProvisionCall {
        product_id: PRODUCT,
        erp_no: market::PARTNER.to_owned(),
        ..ProvisionCall::default()
    }
}

/// How many devices the world has made.
fn made(sim: &Handle) -> usize {
    sim.market(|market, _| market.devices().len())
}

#[tokio::test]
async fn an_expired_session_costs_all_calls_of_both_surfaces_one_login() {
    let sim = prompt().await;
    let order = ordered(&sim, 2);
    let client = client(&sim);
    assert_eq!(orders(&client).await.unwrap().len(), 1);
    assert_eq!(logins(&sim), 1);
    assert_eq!(sim.expire_myadmin_sessions(), 1);
    let rest = futures_util::future::join_all((0..6).map(|_| client.order_units(order)));
    let rpc = futures_util::future::join_all((0..6).map(|_| client.partner_devices()));
    let (rest, rpc) = bounded("calls", async { tokio::join!(rest, rpc) }).await;
    assert!(rest.into_iter().all(|units| units.unwrap().len() == 2));
    assert!(rpc.into_iter().all(|devices| devices.unwrap().is_empty()));
    assert_eq!(logins(&sim), 2);
    assert_eq!(
        (client.status().state, client.status().generation),
        ("ready", 2)
    );
    sim.stop().await;
}

#[tokio::test]
async fn parallel_first_calls_log_in_once() {
    let sim = prompt().await;
    let client = client(&sim);
    let first = futures_util::future::join_all((0..8).map(|_| client.partner_devices()));
    for devices in bounded("calls", first).await {
        assert_eq!(devices.unwrap(), []);
    }
    assert_eq!(logins(&sim), 1);
    sim.stop().await;
}

#[tokio::test]
async fn a_rest_401_is_followed_by_one_login_and_one_more_call() {
    let sim = prompt().await;
    ordered(&sim, 1);
    let client = client(&sim);
    orders(&client).await.unwrap();
    sim.expire_myadmin_sessions();
    assert_eq!(orders(&client).await.unwrap().len(), 1);
    assert_eq!(
        (calls(&sim, Operation::PartnerOrders), logins(&sim)),
        (3, 2)
    );
    // A session that is rejected although it is new: told, not asked for ever.
    let rule = sim
        .faults()
        .push(Rule::status(401).on(Operation::PartnerOrders));
    let error = orders(&client).await.unwrap_err();
    assert!(
        error.session_rejected() && !error.may_have_effects(),
        "{error}"
    );
    assert_eq!(
        (calls(&sim, Operation::PartnerOrders), logins(&sim)),
        (5, 3)
    );
    sim.faults().remove(rule);
    assert_eq!(orders(&client).await.unwrap().len(), 1);
    assert_eq!(logins(&sim), 4);
    sim.stop().await;
}

#[tokio::test]
async fn sessions_end_by_age_and_by_idleness() {
    let sim = simulator(market::Settings {
        session_s: 3600,
        session_idle_s: 600,
        ..market::Settings::prompt()
    })
    .await;
    let client = client(&sim);
    for (after, sessions) in [(0, 1), (500, 1), (700, 2), (500, 2), (3700, 3)] {
        sim.advance(Duration::from_secs(after));
        assert_eq!(client.partner_devices().await.unwrap(), []);
        assert_eq!(logins(&sim), sessions, "after {after} s more");
    }
    sim.stop().await;
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_at_once() {
    let sim = prompt().await;
    for (username, password) in [(INTEGRATOR, "mistyped"), ("nobody@example.com", "mistyped")] {
        let before = logins(&sim);
        let client = Client::new(&myadmin::Config {
            username: username.to_owned(),
            password: Secret::new(password),
            ..config(&sim)
        })
        .unwrap();
        for _ in 0..3 {
            let error = orders(&client).await.unwrap_err();
            assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
            assert!(!error.retryable() && !error.may_have_effects());
            let error = client.provision(&device()).await.unwrap_err();
            assert!(!error.may_have_effects(), "{error}");
        }
        assert_eq!(logins(&sim) - before, 1, "{username}");
        assert_eq!(client.status().state, "refused");
    }
    assert_eq!((calls(&sim, Operation::PartnerOrders), made(&sim)), (0, 0));
    sim.stop().await;
}

#[tokio::test]
async fn a_login_that_fails_for_a_while_is_tried_again() {
    let sim = prompt().await;
    let login = Operation::MyAdminAuthenticate;
    sim.faults().push(
        Rule::throw("GenericRequestError", "The database is away.")
            .on(login)
            .times(2),
    );
    let client = client(&sim);
    assert_eq!(orders(&client).await.unwrap(), []);
    assert_eq!(logins(&sim), 3);
    sim.stop().await;
}

#[tokio::test]
async fn the_report_names_the_roles_that_are_there_and_those_that_are_missing() {
    let sim = prompt().await;
    let all = Needs {
        provisioning: true,
        reconciliation: true,
        readiness: true,
        contracts: true,
    };
    let report = bounded("a report", client(&sim).report(all)).await.unwrap();
    assert_eq!(
        (report.user.as_str(), report.accounts.as_slice()),
        (INTEGRATOR, &[market::INTEGRATOR.to_owned()][..])
    );
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.role).collect();
    assert_eq!(missing, ["Billing_Admin"]);
    assert!(!report.is_complete());
    let journey = Needs {
        contracts: false,
        ..all
    };
    assert!(client(&sim).report(journey).await.unwrap().is_complete());
    let report = partner(&sim, |_| {}).report(journey).await.unwrap();
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.role).collect();
    assert_eq!(
        missing,
        ["Third-Party-Integrator", "ThirdPartyPartner-Admin"]
    );
    sim.stop().await;
}

#[tokio::test]
async fn the_start_up_report_waits_for_a_myadmin_that_is_away() {
    let sim = prompt().await;
    let client = Client::new(&myadmin::Config {
        read_attempts: 1,
        username: PARTNER.to_owned(),
        ..config(&sim)
    })
    .unwrap();
    sim.faults().push(
        Rule::status(503)
            .on(Operation::MyAdminAuthenticate)
            .times(2),
    );
    let journey = orders::Config {
        enabled: true,
        backoff_s: 1,
        backoff_max_s: 1,
        ..orders::Config::default()
    };
    let report = bounded("a report", orders::access::report(&client, &journey)).await;
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.role).collect();
    assert_eq!(
        missing,
        ["ThirdPartyPartner-Admin"],
        "no product, no provisioning"
    );
    assert_eq!(logins(&sim), 3);
    sim.stop().await;
}

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The texts of `name` in the answers to logins.
fn told(sim: &Handle, name: &str) -> Vec<String> {
    let logins = sim.exchanges();
    let logins = logins
        .iter()
        .filter(|exchange| exchange.operation == Operation::MyAdminAuthenticate);
    logins
        .filter_map(|login| serde_json::from_slice::<serde_json::Value>(&login.answer).ok())
        .filter_map(|answer| Some(answer["result"][name].as_str()?.to_owned()))
        .collect()
}

#[tokio::test]
async fn no_secret_is_shown() {
    let written = Written::default();
    let logs = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || logs.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let sim = prompt().await;
    let password = "correct horse battery";
    sim.market(|market, _| {
        let mut user = market.user(INTEGRATOR).unwrap().clone();
        user.password = password.to_owned();
        market.put_user(user);
    });
    let config = myadmin::Config {
        password: Secret::new(password),
        ..config(&sim)
    };
    let client = Client::new(&config).unwrap();
    let mut shown = vec![format!("{config:?}"), toml::to_string(&config).unwrap()];
    let order = ordered(&sim, 1);
    orders(&client).await.unwrap();
    let faults = [
        Rule::status(401).on(Operation::PartnerUnits),
        Rule::throw("SessionExpiredException", "The session is over.")
            .on(Operation::GetPartnerDeviceContracts),
        Rule::cut(sim::CutAt::AfterBody).on(Operation::ProvisionDeviceToAccount),
    ];
    for rule in faults {
        sim.faults().push(rule);
    }
    let failed = [
        client.order_units(order).await.unwrap_err(),
        client.partner_devices().await.unwrap_err(),
        client.provision(&device()).await.unwrap_err(),
    ];
    shown.extend(failed.iter().map(|error| format!("{error} {error:?}")));
    shown.push(format!("{:?}", client.status()));
    shown.push(format!("{:?}", client.user().await.unwrap()));
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("logged in at MyAdmin"), "{log}");
    shown.push(log);
    let mut secrets = [told(&sim, "sessionId"), told(&sim, "userId")].concat();
    assert!(secrets.len() >= 4, "{}", secrets.len());
    secrets.push(password.to_owned());
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret), "C1: a secret is in {text}");
        }
    }
    sim.stop().await;
}
