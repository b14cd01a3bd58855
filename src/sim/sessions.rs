//! Who may call: accounts, token pairs, and the limit on authentication calls.
//!
//! Pairs are independent: an old bearer lives to its expiry after a refresh and is blocked a little after a revoke (dig/API.md U14).
//! Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;

use super::settings::{Account, Settings};

/// A refused call: its status and the text for `Error`.
pub type Denied = (u16, &'static str);

/// A token pair as handed out; times are microseconds since the epoch.
#[derive(Clone)]
pub struct Pair {
    pub user: String,
    pub bearer: String,
    pub refresh: String,
    pub created: i64,
    pub bearer_expires: i64,
    pub refresh_expires: i64,
}

struct Bearer {
    user: String,
    expires: i64,
    blocked_from: i64,
}

struct Refresh {
    user: String,
    bearer: String,
    expires: i64,
    spent: bool,
}

/// The three authentication operations, each with its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthCall {
    Authenticate,
    Refresh,
    Revoke,
}

/// All tokens ever handed out, and the recent authentication calls.
#[derive(Default)]
pub struct Sessions {
    account: Option<Account>,
    bearers: HashMap<String, Bearer>,
    refreshes: HashMap<String, Refresh>,
    recent: HashMap<(AuthCall, String), VecDeque<i64>>,
}

const MINUTE: i64 = 60_000_000;
const UNKNOWN: Denied = (403, "The token was already refreshed or cannot be found.");
const LIMITED: Denied = (429, "Rate limit quota exceeded.");

impl Sessions {
    #[must_use]
    pub fn new(account: Option<Account>) -> Self {
        Self {
            account,
            ..Self::default()
        }
    }

    /// Logs in.
    ///
    /// # Errors
    /// 429 above the limit, 401 for wrong credentials.
    pub fn authenticate(
        &mut self,
        user: &str,
        password: &str,
        now: i64,
        settings: &Settings,
    ) -> Result<Pair, Denied> {
        self.admit(AuthCall::Authenticate, user, now, settings)?;
        let known = match &self.account {
            Some(account) => account.username == user && account.password == password,
            None => !user.is_empty() && !password.is_empty(),
        };
        if !known {
            return Err((401, "The credentials could not be used to authenticate."));
        }
        Ok(self.issue(user.to_owned(), now, settings))
    }

    /// Exchanges a pair for a new one; a refresh token works once.
    ///
    /// # Errors
    /// 429 above the limit, 403 for a spent or unknown token, the setting's status for one that expired, 401 for one that belongs to
    /// another bearer.
    pub fn refresh(
        &mut self,
        bearer: &str,
        refresh: &str,
        now: i64,
        settings: &Settings,
    ) -> Result<Pair, Denied> {
        let user = self
            .refreshes
            .get(refresh)
            .map(|known| known.user.clone())
            .unwrap_or_default();
        self.admit(AuthCall::Refresh, &user, now, settings)?;
        let known = self
            .refreshes
            .get_mut(refresh)
            .filter(|known| !known.spent)
            .ok_or(UNKNOWN)?;
        let text = "The tokens could not be used to refresh.";
        if known.expires <= now {
            return Err((settings.expired_refresh_status, text));
        }
        if known.bearer != bearer {
            return Err((401, text));
        }
        known.spent = true;
        Ok(self.issue(user, now, settings))
    }

    /// Ends a pair: the refresh token at once, the bearer after a delay.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub fn revoke(
        &mut self,
        bearer: &str,
        refresh: &str,
        now: i64,
        settings: &Settings,
    ) -> Result<(), Denied> {
        let user = self
            .refreshes
            .get(refresh)
            .map(|known| known.user.clone())
            .unwrap_or_default();
        self.admit(AuthCall::Revoke, &user, now, settings)?;
        let known = self
            .refreshes
            .get_mut(refresh)
            .filter(|known| !known.spent)
            .ok_or(UNKNOWN)?;
        let text = "The tokens could not be used to revoke.";
        if known.expires <= now {
            return Err((settings.expired_refresh_status, text));
        }
        if known.bearer != bearer {
            return Err((401, text));
        }
        known.spent = true;
        if let Some(known) = self.bearers.get_mut(bearer) {
            known.blocked_from = known
                .blocked_from
                .min(now + settings.revoke_delay_ms as i64 * 1000);
        }
        Ok(())
    }

    /// The user a bearer belongs to.
    ///
    /// # Errors
    /// 401 for a missing, unknown or expired bearer; the setting's status for a revoked one.
    pub fn user_of(
        &self,
        bearer: Option<&str>,
        now: i64,
        settings: &Settings,
    ) -> Result<&str, Denied> {
        let invalid = (401, "Invalid or rejected token.");
        let known = bearer
            .and_then(|bearer| self.bearers.get(bearer))
            .ok_or(invalid)?;
        if known.blocked_from <= now {
            return Err((settings.revoked_status, "The token was revoked."));
        }
        if known.expires <= now {
            return Err(invalid);
        }
        Ok(&known.user)
    }

    /// Blocks every bearer now; refresh tokens are spent too. Returns how many bearers were live.
    pub fn revoke_all(&mut self, now: i64) -> usize {
        self.refreshes
            .values_mut()
            .for_each(|known| known.spent = true);
        self.block_bearers(now)
    }

    /// Blocks every bearer now and leaves the refresh tokens alone. Returns how many bearers were live.
    pub fn block_bearers(&mut self, now: i64) -> usize {
        let live = |known: &&mut Bearer| known.blocked_from > now && known.expires > now;
        self.bearers
            .values_mut()
            .filter(live)
            .map(|known| known.blocked_from = now)
            .count()
    }

    /// Expires every bearer now, and with `refresh_too` the refresh tokens. Returns how many bearers were live.
    pub fn expire_all(&mut self, now: i64, refresh_too: bool) -> usize {
        if refresh_too {
            self.refreshes
                .values_mut()
                .for_each(|known| known.expires = known.expires.min(now));
        }
        let live = |known: &&mut Bearer| known.blocked_from > now && known.expires > now;
        self.bearers
            .values_mut()
            .filter(live)
            .map(|known| known.expires = now)
            .count()
    }

    fn admit(
        &mut self,
        call: AuthCall,
        user: &str,
        now: i64,
        settings: &Settings,
    ) -> Result<(), Denied> {
        if settings.auth_per_minute == 0 {
            return Ok(());
        }
        let recent = self.recent.entry((call, user.to_owned())).or_default();
        while recent.front().is_some_and(|at| *at <= now - MINUTE) {
            recent.pop_front();
        }
        if recent.len() >= settings.auth_per_minute as usize {
            return Err(LIMITED);
        }
        recent.push_back(now);
        Ok(())
    }

    fn issue(&mut self, user: String, now: i64, settings: &Settings) -> Pair {
        let bearer_expires = now + settings.bearer_s as i64 * 1_000_000;
        let refresh_expires = now + settings.refresh_s as i64 * 1_000_000;
        let pair = Pair {
            bearer: bearer_text(&user, now, bearer_expires),
            refresh: refresh_text(),
            created: now,
            bearer_expires,
            refresh_expires,
            user,
        };
        let user = pair.user.clone();
        self.bearers.insert(
            pair.bearer.clone(),
            Bearer {
                user: user.clone(),
                expires: bearer_expires,
                blocked_from: i64::MAX,
            },
        );
        self.refreshes.insert(
            pair.refresh.clone(),
            Refresh {
                user,
                bearer: pair.bearer.clone(),
                expires: refresh_expires,
                spent: false,
            },
        );
        pair
    }
}

/// Looks like the JWT of the OpenAPI's example (3.5); the signature is random, for nobody checks it.
fn bearer_text(user: &str, now: i64, expires: i64) -> String {
    let (from, to) = (now / 1_000_000, expires / 1_000_000);
    let claims = serde_json::json!({"unique_name": user, "nbf": from, "exp": to, "iat": from});
    let signature: [u8; 32] = rand::rng().random();
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    format!(
        "{head}.{}.{}",
        URL_SAFE_NO_PAD.encode(claims.to_string()),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

/// Sixty characters whose alphabet includes `+`, `/` and `=` (3.5).
fn refresh_text() -> String {
    const ALPHABET: &[u8; 65] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    let mut rng = rand::rng();
    (0..60)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests;
