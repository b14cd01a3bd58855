//! Provisioning: how a serial is made, and the scripted ways in which that goes wrong.
//!
//! There is no idempotency key (myadmin/API.md 2.2): every call that takes effect makes another serial.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::devices::{Billing, Device};
use super::{Market, Refused};
use crate::sim::faults::Loss;

/// An exception as MyAdmin throws it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thrown {
    /// The exception's type, `errors[0].name`.
    pub name: String,
    #[serde(default)]
    pub text: String,
}

impl Thrown {
    #[must_use]
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            text: text.into(),
        }
    }
}

/// How a provisioning call turns out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// A serial, and an answer.
    #[default]
    Make,
    /// A serial, and no answer: the connection is cut, or nothing ever comes.
    LoseAnswer(Loss),
    /// A serial, and an exception for an answer.
    MakeThenThrow(Thrown),
    /// No serial and no answer.
    Lose(Loss),
    /// `isSuccess: false` with this error text.
    Decline(String),
    /// A null result; in bulk an element that is not there.
    Nothing,
    Throw(Thrown),
}

/// A scripted turn for provisioning calls. Without any scope it takes one call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    pub turn: Turn,
    /// Only this product.
    pub product_id: Option<i64>,
    /// Only for this account.
    pub erp_no: Option<String>,
    /// Let this many go first.
    pub skip: u64,
    /// Then take this many, and be done; one unless said.
    pub count: Option<u64>,
    /// Take each with this probability.
    pub rate: Option<f64>,
}

impl Script {
    /// The next call.
    #[must_use]
    pub fn once(turn: Turn) -> Self {
        Self {
            turn,
            ..Self::default()
        }
    }

    /// So many calls, after some.
    #[must_use]
    pub fn times(self, skip: u64, count: u64) -> Self {
        Self {
            skip,
            count: Some(count),
            ..self
        }
    }

    /// Every call, with this probability.
    #[must_use]
    pub fn at_rate(self, rate: f64) -> Self {
        Self {
            rate: Some(rate),
            count: Some(u64::MAX),
            ..self
        }
    }
}

/// A script at work.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Armed {
    script: Script,
    seen: u64,
    applied: u64,
}

/// What came of a provisioning call: what the caller gets, and what the world alone knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `isSuccess: true` with this serial.
    Made(String),
    /// `isSuccess: false` with this text.
    Declined(String),
    /// A null result.
    Nothing,
    /// An exception.
    Thrown {
        thrown: Thrown,
        /// The serial that was made all the same; the caller is not told.
        made: Option<String>,
    },
    /// No answer at all.
    Lost {
        how: Loss,
        /// The serial that was made all the same; the caller is not told.
        made: Option<String>,
    },
}

impl Outcome {
    /// The serial that was made, told or not.
    #[must_use]
    pub fn made(&self) -> Option<&str> {
        match self {
            Self::Made(serial) => Some(serial),
            Self::Thrown { made, .. } | Self::Lost { made, .. } => made.as_deref(),
            Self::Declined(_) | Self::Nothing => None,
        }
    }
}

/// The text for a product that is not there (2.2 names the cause, no code).
pub const UNKNOWN_PRODUCT: &str = "InvalidProductId";

impl Market {
    /// Adds a script behind those there are.
    ///
    /// # Errors
    /// A rate that is no probability.
    pub fn script(&mut self, script: Script) -> Result<(), Refused> {
        if script.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(Refused::Wrong(
                "`rate` is a probability between 0 and 1".to_owned(),
            ));
        }
        self.scripts.push(Armed {
            script,
            seen: 0,
            applied: 0,
        });
        Ok(())
    }

    pub fn clear_scripts(&mut self) {
        self.scripts.clear();
    }

    /// The scripts, with how often each was applied.
    #[must_use]
    pub fn scripts(&self) -> Vec<(&Script, u64)> {
        self.scripts
            .iter()
            .map(|armed| (&armed.script, armed.applied))
            .collect()
    }

    fn turn(&mut self, product_id: i64, erp_no: &str) -> Turn {
        for armed in &mut self.scripts {
            let script = &armed.script;
            if script.product_id.is_some_and(|only| only != product_id)
                || script
                    .erp_no
                    .as_ref()
                    .is_some_and(|only| !only.eq_ignore_ascii_case(erp_no))
                || armed.applied >= script.count.unwrap_or(1)
            {
                continue;
            }
            armed.seen += 1;
            if armed.seen <= script.skip {
                continue;
            }
            if script
                .rate
                .is_some_and(|rate| self.draws.random::<f64>() >= rate)
            {
                continue;
            }
            armed.applied += 1;
            return script.turn.clone();
        }
        Turn::Make
    }

    /// One provisioning call: `erp_no` is the account to receive the device, `maker` the caller's own, which receives it
    /// when none is named (2.2).
    pub fn provision(
        &mut self,
        product_id: i64,
        erp_no: Option<&str>,
        maker: &str,
        now: i64,
    ) -> Outcome {
        let erp_no = erp_no.filter(|erp_no| !erp_no.is_empty()).unwrap_or(maker);
        let turn = self.turn(product_id, erp_no);
        let mut make = || self.make(product_id, erp_no, maker, now);
        let thrown = |thrown, made| Outcome::Thrown { thrown, made };
        match turn {
            Turn::Make => match make() {
                Ok(serial) => Outcome::Made(serial),
                Err(Refused::Missing {
                    what: "product", ..
                }) => Outcome::Declined(UNKNOWN_PRODUCT.to_owned()),
                Err(refused) => thrown(
                    Thrown::new(
                        "MyAdminException",
                        format!("illegal_field_value: {refused}"),
                    ),
                    None,
                ),
            },
            Turn::LoseAnswer(how) => Outcome::Lost {
                how,
                made: make().ok(),
            },
            Turn::MakeThenThrow(what) => {
                let made = make().ok();
                thrown(what, made)
            }
            Turn::Lose(how) => Outcome::Lost { how, made: None },
            Turn::Decline(text) => Outcome::Declined(text),
            Turn::Nothing => Outcome::Nothing,
            Turn::Throw(what) => thrown(what, None),
        }
    }

    /// Makes a device, whatever the scripts say: also what somebody else with the same account does.
    ///
    /// # Errors
    /// No such product or account.
    pub fn make(
        &mut self,
        product_id: i64,
        erp_no: &str,
        maker: &str,
        now: i64,
    ) -> Result<String, Refused> {
        let product = self
            .products
            .iter()
            .find(|product| product.product_id == Some(product_id))
            .cloned()
            .ok_or_else(|| Refused::missing("product", product_id))?;
        let account = self
            .account(erp_no)
            .ok_or_else(|| Refused::missing("account", erp_no))?
            .erp_no
            .clone();
        let (low, high) = (self.settings.visible_min_ms, self.settings.visible_max_ms);
        let lag_ms = self.makes.random_range(low.min(high)..=high.max(low));
        loop {
            let number = self.makes.random::<u64>() & 0xff_ffff_ffff;
            let serial = format!("{}{number:010X}", product.prefix.to_ascii_uppercase());
            let device = Device {
                id: 0,
                serial: serial.clone(),
                product_id,
                product_code: product.product_code.clone(),
                account: account.clone(),
                maker: maker.to_owned(),
                born_us: now,
                shows_us: now + lag_ms as i64 * 1000,
                owner: None,
                shared: Vec::new(),
                termination: None,
                past: Vec::new(),
                billing: Billing::default(),
            };
            if self.bear(device) {
                return Ok(serial);
            }
        }
    }
}
