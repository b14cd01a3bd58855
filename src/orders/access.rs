//! What the journey must be allowed at MyAdmin, and the report of what it is allowed, made at the start (myadmin/API.md
//! section 2, U25).
//!
//! A missing role stops nothing here: the journey does what it may, and every refused call says so where it is made.
//! Nothing is left behind when the report is cancelled.

use std::time::Duration;

use anyhow::Context as _;

use super::Config;
use super::settings::CheckContracts;
use crate::http::retry::Backoff;
use crate::myadmin::{self, Client, Needs, Report};
use crate::ops::metrics::myadmin as metrics;

impl Config {
    /// What the switched-on parts of the journey do at MyAdmin.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs {
            provisioning: self.enabled && !self.products.is_empty(),
            reconciliation: self.enabled && self.provision.list_devices,
            readiness: self.enabled,
            contracts: self.enabled && self.provision.check_contracts == CheckContracts::Always,
        }
    }
}

/// The client of a job that does the journey. Makes no call yet.
///
/// # Errors
/// No user is set, or settings of `[myadmin]` that cannot be used.
pub fn client(config: &myadmin::Config) -> anyhow::Result<Client> {
    anyhow::ensure!(
        config.is_on(),
        "orders.enabled is true and myadmin.username is empty: name the MyAdmin user, or switch orders off"
    );
    Client::new(config).context("the client of MyAdmin")
}

/// Logs in, and tells which roles the account has and which are missing; asks until MyAdmin answers.
pub async fn report(client: &Client, config: &Config) -> Report {
    let mut waits = Backoff::new(
        Duration::from_secs(config.backoff_s),
        Duration::from_secs(config.backoff_max_s),
    );
    loop {
        match client.report(config.needs()).await {
            Ok(report) => {
                tell(&report);
                return report;
            }
            Err(error) => {
                let wait = waits.next(&mut rand::rng());
                tracing::warn!(%error, wait_s = wait.as_secs(), "the roles of the MyAdmin account are not known yet");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

fn tell(report: &Report) {
    let lacking = report.missing.iter().filter(|missing| !missing.advice);
    metrics::set_roles_missing(lacking.count());
    if report.is_complete() {
        tracing::info!(account = %report, "the MyAdmin account has the roles for everything that is enabled");
    } else {
        tracing::error!(account = %report, "the MyAdmin account lacks roles for what is enabled: request them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::settings::Product;

    #[test]
    fn needs_follow_what_is_switched_on() {
        let mut config = Config::default();
        config.products.insert("CTD".to_owned(), Product::default());
        assert_eq!(config.needs(), Needs::default(), "switched off");
        config.enabled = true;
        let all = Needs {
            provisioning: true,
            reconciliation: true,
            readiness: true,
            contracts: false,
        };
        assert_eq!(config.needs(), all);
        config.provision.list_devices = false;
        config.products.clear();
        let few = Needs {
            readiness: true,
            ..Needs::default()
        };
        assert_eq!(config.needs(), few);
    }

    #[test]
    fn without_a_user_there_is_no_client() {
        let error = client(&myadmin::Config::default()).err().unwrap();
        assert!(error.to_string().contains("myadmin.username is empty"));
    }
}
