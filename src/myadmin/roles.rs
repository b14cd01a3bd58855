//! Which roles the account has, and which are missing for what is switched on (myadmin/API.md section 2, U25). Pure.

use std::fmt;

use serde::Serialize;

use super::wire::User;

/// What the job wants to do at MyAdmin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Make devices.
    pub provisioning: bool,
    /// List the devices we produced, to find orphans and terminations.
    pub reconciliation: bool,
    /// Ask which database a device is assigned to.
    pub readiness: bool,
    /// List contracts of an account.
    pub contracts: bool,
}

/// A role the account does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub role: &'static str,
    /// What will be refused without it.
    pub purpose: &'static str,
    /// Nothing published asks for it; some deployments have it all the same.
    pub advice: bool,
}

/// What the login told of the account, held against the needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub user: String,
    pub accounts: Vec<String>,
    pub roles: Vec<String>,
    pub missing: Vec<Missing>,
}

impl Report {
    #[must_use]
    pub fn new(user: &User, needs: Needs) -> Self {
        let rows = [
            (
                needs.provisioning,
                "Third-Party-Integrator",
                "provisioning devices",
                false,
            ),
            (
                needs.reconciliation,
                "ThirdPartyPartner-Admin",
                "listing the devices we produced (orphans, terminations)",
                false,
            ),
            (
                needs.contracts,
                "Billing_Admin",
                "listing device contracts",
                false,
            ),
            (
                needs.readiness,
                "Device_Admin",
                "asking for device databases",
                true,
            ),
        ];
        let missing = rows
            .into_iter()
            .filter(|(needed, role, ..)| *needed && !has(&user.roles, role))
            .map(|(_, role, purpose, advice)| Missing {
                role,
                purpose,
                advice,
            });
        Self {
            user: user.name.clone(),
            accounts: user.accounts.clone(),
            roles: user.roles.clone(),
            missing: missing.collect(),
        }
    }

    /// Whether every role that a call needs is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.iter().all(|missing| missing.advice)
    }
}

/// Role names are spelled with hyphens, underscores and spaces.
fn has(roles: &[String], role: &str) -> bool {
    let plain = |name: &str| -> String {
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    roles.iter().any(|known| plain(known) == plain(role))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| {
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        write!(
            f,
            "user {}, accounts: {}, roles: {}",
            self.user,
            list(&self.accounts),
            list(&self.roles)
        )?;
        for missing in &self.missing {
            let word = if missing.advice { "without" } else { "missing" };
            write!(f, "; {word} {} ({})", missing.role, missing.purpose)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(roles: &[&str]) -> User {
        User {
            name: "a@b.c".to_owned(),
            accounts: vec!["PART01".to_owned()],
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    const ALL: Needs = Needs {
        provisioning: true,
        reconciliation: true,
        readiness: true,
        contracts: true,
    };

    #[test]
    fn what_is_missing_depends_on_what_is_switched_on() {
        let report = Report::new(&user(&["Third Party Integrator"]), ALL);
        let roles: Vec<_> = report.missing.iter().map(|missing| missing.role).collect();
        assert_eq!(
            roles,
            ["ThirdPartyPartner-Admin", "Billing_Admin", "Device_Admin"]
        );
        assert!(!report.is_complete());
        let report = Report::new(
            &user(&[]),
            Needs {
                readiness: true,
                ..Needs::default()
            },
        );
        assert!(
            report.is_complete(),
            "no role is needed for readiness, some have one"
        );
        assert!(
            report
                .to_string()
                .ends_with("roles: none; without Device_Admin (asking for device databases)")
        );
        assert!(Report::new(&user(&[]), Needs::default()).missing.is_empty());
    }

    #[test]
    fn names_match_however_they_are_spelled() {
        let roles = [
            "third_party-integrator",
            "ThirdPartyPartner_Admin",
            "BILLING ADMIN",
            "device_admin",
        ];
        let report = Report::new(&user(&roles), ALL);
        assert!(report.missing.is_empty(), "{report}");
    }
}
