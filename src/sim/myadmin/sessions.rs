//! Sessions of MyAdmin: handed out at login, ended by age, by idling, or on demand (myadmin/API.md 1.4). Pure: the time is an argument.

use std::collections::HashMap;

use uuid::Uuid;

use crate::sim::market::{Settings, Thrown, User};

struct Session {
    user: String,
    key: Uuid,
    created_us: i64,
    used_us: i64,
}

/// Every session that may still be used, and when users last logged on.
#[derive(Default)]
pub struct Logins {
    sessions: HashMap<Uuid, Session>,
    last_logon_us: HashMap<String, i64>,
}

/// What is thrown for a session that is not there.
#[must_use]
pub fn expired() -> Thrown {
    Thrown::new("SessionExpiredException", "The session has expired.")
}

impl Logins {
    /// Opens a session. Returns it, and when the user logged on before.
    pub fn open(&mut self, user: &User, now: i64) -> (Uuid, Option<i64>) {
        let id = Uuid::new_v4();
        self.sessions.insert(
            id,
            Session {
                user: user.name.clone(),
                key: user.id,
                created_us: now,
                used_us: now,
            },
        );
        (id, self.last_logon_us.insert(user.name.clone(), now))
    }

    /// Whose session it is, valid or not.
    #[must_use]
    pub fn holder(&self, session: &str) -> Option<String> {
        let session = self.sessions.get(&Uuid::try_parse(session).ok()?)?;
        Some(session.user.clone())
    }

    fn touch(&mut self, session: &str, settings: &Settings, now: i64) -> Option<&Session> {
        let id = Uuid::try_parse(session).ok()?;
        let known = self.sessions.get_mut(&id)?;
        let seconds = |s: u64| (s as i64).saturating_mul(1_000_000);
        let idle =
            settings.session_idle_s > 0 && now - known.used_us >= seconds(settings.session_idle_s);
        if idle || now - known.created_us >= seconds(settings.session_s) {
            self.sessions.remove(&id);
            return None;
        }
        known.used_us = now;
        self.sessions.get(&id)
    }

    /// The user of a call of the JSON-RPC face.
    ///
    /// # Errors
    /// `SessionExpiredException`; `SecurityException` when the key is another user's.
    pub fn user_of(
        &mut self,
        session: &str,
        key: &str,
        settings: &Settings,
        now: i64,
    ) -> Result<String, Thrown> {
        let known = self.touch(session, settings, now).ok_or_else(expired)?;
        if Uuid::try_parse(key).ok() == Some(known.key) {
            Ok(known.user.clone())
        } else {
            Err(Thrown::new(
                "SecurityException",
                "The apiKey is not the session's.",
            ))
        }
    }

    /// The user of a call of the REST face, which sends no key.
    pub fn rest_user(&mut self, session: &str, settings: &Settings, now: i64) -> Option<String> {
        self.touch(session, settings, now)
            .map(|known| known.user.clone())
    }

    /// Ends every session. Returns how many there were.
    pub fn expire_all(&mut self) -> usize {
        let all = self.sessions.len();
        self.sessions.clear();
        all
    }
}
