//! Whether MyAdmin lets us in, which roles the account has, and whether it shows us orders. Changes nothing.

use std::time::Duration;

use super::Tried;
use crate::myadmin::wire::{OrderFilter, Window};
use crate::myadmin::{Client, Config, Error, Kind, Needs};

/// Logs in, holds the roles against `needs`, and reads one day's orders. Nothing if no user is set.
pub(super) async fn ask(
    config: &Config,
    needs: Needs,
    now: jiff::Timestamp,
    timeout: Duration,
) -> Vec<Tried> {
    if !config.is_on() {
        return Vec::new();
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
    match client.report(needs).await {
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

    fn config(url: String) -> Config {
        Config {
            rest_url: format!("{url}/api/v3/shipping/partner"),
            url,
            username: "tour@example.com".to_owned(),
            password: Secret::new("hunter2"),
            ..Config::default()
        }
    }

    async fn try_with(config: &Config) -> Vec<Tried> {
        let now = jiff::Timestamp::UNIX_EPOCH;
        ask(config, Needs::default(), now, Duration::from_secs(30)).await
    }

    #[tokio::test]
    async fn without_a_user_nothing_is_asked() {
        let off = Config {
            username: String::new(),
            ..config("http://127.0.0.1:1".to_owned())
        };
        assert_eq!(try_with(&off).await, []);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_fails_with_a_remedy_and_without_the_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let tried = try_with(&config(url)).await;
        assert_eq!(tried.len(), 1);
        assert!(
            !tried[0].ok && tried[0].remedy.starts_with("check myadmin.url"),
            "{tried:?}"
        );
        assert!(!format!("{tried:?}").contains("hunter2"));
    }
}
