//! Whether MyAdmin lets us in, which roles the account has, and whether it shows us orders. Changes nothing.

use std::time::Duration;

use super::Tried;
use crate::myadmin::wire::{OrderFilter, Window};
use crate::myadmin::{Client, Config, Error, Kind};
use crate::orders;

/// Logs in, holds the roles against what `[orders]` switches on, and reads one day's orders. Nothing if no user is set and
/// none is needed.
pub(super) async fn ask(
    config: &Config,
    orders: &orders::Config,
    now: jiff::Timestamp,
    timeout: Duration,
) -> Vec<Tried> {
    match config.is_on() {
        true => {}
        false if orders.enabled => {
            let remedy = "name the user with myadmin.username, or switch orders off";
            let found = "orders.enabled is true and no user is set";
            return vec![Tried::bad("MyAdmin", found, remedy)];
        }
        false => return Vec::new(),
    }
    // Whoever waits for an answer here would rather be told than wait for the limits.
    let bounded = Config {
        request_timeout_s: timeout.as_secs().max(1),
        patience_s: timeout.as_secs().max(1),
        read_attempts: 1,
        ..config.clone()
    };
    let subject = format!("MyAdmin {}", config.url);
    let client = match Client::new(&bounded) {
        Ok(client) => client,
        Err(error) => {
            let remedy = "correct the settings in [myadmin]";
            return vec![Tried::bad(subject, format!("{error:#}"), remedy)];
        }
    };
    let mut tried = Vec::new();
    match client.report(orders.needs()).await {
        Ok(report) if report.is_complete() => tried.push(Tried::good(subject, report.to_string())),
        Ok(report) => tried.push(Tried::bad(
            subject,
            report.to_string(),
            "ask Geotab for the missing roles, or switch off what needs them",
        )),
        Err(error) => {
            let remedy = remedy(&error);
            return vec![Tried::bad(subject, error.to_string(), remedy)];
        }
    }
    let subject = format!("orders {}", config.rest_url);
    let every = OrderFilter::default();
    let listed = client.orders(Window::last(1, now), &every);
    tried.push(match listed.await {
        Ok(orders) => Tried::good(subject, format!("{} orders since yesterday", orders.len())),
        Err(error) => {
            let remedy = "check myadmin.rest_url; if MyAdmin refuses, ask Geotab for access to partner fulfilment";
            Tried::bad(subject, error.to_string(), remedy)
        }
    });
    tried
}

fn remedy(error: &Error) -> &'static str {
    match (error.kind(), error.status()) {
        (Some(Kind::Credentials | Kind::Security), _) => {
            "check myadmin.username and the password: an account of its own, not the gateway's"
        }
        (Some(Kind::Version), _) => "check [myadmin.versions]",
        (_, Some(429)) => "wait a minute: MyAdmin limits logins",
        (_, Some(status)) if status >= 500 => "MyAdmin is not available now; try again later",
        _ => "check myadmin.url, the network, myadmin.proxy and the certificate authorities",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;
    use crate::sim;

    fn config(url: String) -> Config {
        Config {
            rest_url: format!("{url}/api/v3/shipping/partner"),
            url,
            username: "tour@example.com".to_owned(),
            password: Secret::new("hunter2"),
            ..Config::default()
        }
    }

    async fn try_with(config: &Config, orders: &orders::Config) -> Vec<Tried> {
        ask(
            config,
            orders,
            jiff::Timestamp::now(),
            Duration::from_secs(30),
        )
        .await
    }

    fn off() -> orders::Config {
        orders::Config::default()
    }

    fn on() -> orders::Config {
        orders::Config {
            enabled: true,
            ..off()
        }
    }

    #[tokio::test]
    async fn without_a_user_nothing_is_asked() {
        let nobody = Config {
            username: String::new(),
            ..config("http://127.0.0.1:1".to_owned())
        };
        assert_eq!(try_with(&nobody, &off()).await, []);
        let tried = try_with(&nobody, &on()).await;
        assert!(!tried[0].ok && tried[0].remedy.contains("myadmin.username"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_fails_with_a_remedy_and_without_the_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let tried = try_with(&config(url), &off()).await;
        assert_eq!(tried.len(), 1);
        assert!(
            !tried[0].ok && tried[0].remedy.starts_with("check myadmin.url"),
            "{tried:?}"
        );
        assert!(!format!("{tried:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn roles_are_held_against_what_is_switched_on() {
        let simulator = sim::start(sim::Config {
            settings: sim::Settings {
                market: true,
                ..sim::Settings::default()
            },
            ..sim::Config::default()
        })
        .await
        .unwrap();
        let of = |username: &str| Config {
            username: username.to_owned(),
            password: Secret::new(sim::market::PASSWORD),
            ..config(simulator.url())
        };
        let tried = try_with(&of("integrator@example.com"), &on()).await;
        assert!(
            tried.len() == 2 && tried.iter().all(|one| one.ok),
            "{tried:?}"
        );
        let tried = try_with(&of("partner@example.com"), &on()).await;
        let missing = "missing ThirdPartyPartner-Admin";
        assert!(
            !tried[0].ok && tried[0].found.contains(missing),
            "{tried:?}"
        );
        assert!(!tried[1].ok && tried[1].found.contains("403"), "{tried:?}");
        let tried = try_with(&of("partner@example.com"), &off()).await;
        assert!(tried[0].ok, "nothing is switched on: {tried:?}");
        simulator.stop().await;
    }
}
