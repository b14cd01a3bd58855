//! Whether the gateway lets us in: one login, and its tokens revoked again.

use std::time::Duration;

use super::Tried;
use crate::dig::error::CallError;
use crate::dig::{Client, Config};

/// Logs in once, without retries: a login too many would count against the account's limit.
pub(super) async fn log_in(config: &Config, timeout: Duration) -> Tried {
    let subject = format!("gateway {}", config.url);
    let ready = Client::new(config).and_then(|client| Ok((client, config.current_password()?)));
    let (client, password) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            return Tried::bad(
                subject,
                format!("{error:#}"),
                "correct the settings in [dig]",
            );
        }
    };
    match client
        .authenticate(&config.username, &password, timeout)
        .await
    {
        Ok(pair) => {
            // The tokens are of no further use; whether revoking them works says nothing about the job.
            let revoked = client.revoke(&pair.bearer, &pair.refresh, timeout).await;
            let end = if revoked.is_ok() {
                "and the tokens revoked"
            } else {
                "the tokens could not be revoked"
            };
            Tried::good(subject, format!("logged in as {}, {end}", config.username))
        }
        Err(error) => {
            let remedy = remedy(&error);
            Tried::bad(subject, format!("{:#}", anyhow::Error::from(error)), remedy)
        }
    }
}

fn remedy(error: &CallError) -> &'static str {
    match error.status() {
        None => "check dig.url, the network, dig.proxy and the certificate authorities",
        Some(400 | 401 | 403) => {
            "check dig.username and the password: a MyAdmin user with the DIG-Access role is needed"
        }
        Some(429) => {
            "wait a minute: the gateway limits logins per minute, and this account has used them"
        }
        Some(status) if status >= 500 => "the gateway is not available now; try again later",
        Some(_) => "check dig.url: this does not answer like the gateway",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: String) -> Config {
        Config {
            url,
            username: "tour".to_owned(),
            password: serde_json::from_str("\"hunter2\"").unwrap(),
            ..Config::default()
        }
    }

    #[tokio::test]
    async fn the_simulator_lets_us_in() {
        let gateway = crate::sim::start(crate::sim::Config {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            ..crate::sim::Config::default()
        })
        .await
        .unwrap();
        let tried = log_in(&config(gateway.url()), Duration::from_secs(30)).await;
        assert!(
            tried.ok && tried.found.contains("tokens revoked"),
            "{tried:?}"
        );
        gateway.stop().await;
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_fails_with_a_remedy_and_without_the_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        let tried = log_in(&config(url), Duration::from_secs(30)).await;
        assert!(
            !tried.ok && tried.remedy.starts_with("check dig.url"),
            "{tried:?}"
        );
        assert!(!format!("{tried:?}").contains("hunter2"));
    }
}
