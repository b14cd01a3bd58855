//! A copy of the store while it is in use.
//!
//! SQLite writes the copy itself, as of one moment. It gets its name only when it is whole, so that a copy that broke off is not
//! taken for one. PostgreSQL has a program of its own for this.

use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::{Config, During as _, Error, Refusal, Store};
use crate::config::private;

/// The contents of a copy.
#[derive(Debug, Clone)]
pub struct Copy {
    pub file: PathBuf,
    pub identity: Identity,
    pub bytes: u64,
}

impl Store {
    /// Copies the store into a file that is not there yet.
    ///
    /// # Errors
    /// PostgreSQL, with the command to use instead; a file that is there; a copy that cannot be written or is not whole.
    pub async fn backup(&self, config: &Config, to: &Path) -> Result<Copy, Error> {
        let name = to.display().to_string();
        if self.postgres {
            let url = without_password(config.url.reveal());
            return Err(Refusal::new(
                "orders.store.url",
                "PostgreSQL is copied by its own program",
                format!("run: pg_dump --format=custom --file={name} --dbname='{url}' (the password comes from PGPASSWORD or ~/.pgpass)"),
            )
            .into());
        }
        if to.exists() {
            return Err(Refusal::new(
                name,
                "is there already",
                "give the copy a name that is free",
            )
            .into());
        }
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = |error: std::io::Error| {
            Refusal::new(
                &*name,
                format!("cannot be written: {error}"),
                "name a folder that is there, may be written and has room",
            )
        };
        // What an earlier copy left that broke off.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error).into());
            }
            _ => {}
        }
        // An empty file is filled, and keeps its mode.
        private::prepare(&part).map_err(failed)?;
        let copied = sqlx::query("VACUUM INTO $1")
            .bind(part.display().to_string())
            .execute(&self.pool)
            .await
            .during("copying the store");
        if let Err(error) = copied {
            // What broke off only takes room, which may be what lacked.
            let _ = std::fs::remove_file(&part);
            return Err(error);
        }
        let copied = Self::connect(
            &Config {
                file: part.clone(),
                url: Default::default(),
                connections: 1,
                ..config.clone()
            },
            "rw",
        )
        .await?;
        copied.check().await?;
        let identity = copied.identity().await?;
        copied.close().await;
        let put = || {
            let file = std::fs::File::open(&part)?;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            std::fs::rename(&part, to)?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(bytes)
        };
        Ok(Copy {
            bytes: put().map_err(failed)?,
            file: to.to_owned(),
            identity,
        })
    }

    /// The database's version text, and for SQLite its journal mode.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn version(&self) -> Result<String, Error> {
        let act = "asking for the version";
        if self.postgres {
            let (version,): (String,) = sqlx::query_as("SELECT current_setting('server_version')")
                .fetch_one(&self.pool)
                .await
                .during(act)?;
            return Ok(format!("PostgreSQL {version}"));
        }
        let (version,): (String,) = sqlx::query_as("SELECT sqlite_version()")
            .fetch_one(&self.pool)
            .await
            .during(act)?;
        let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
            .fetch_one(&self.pool)
            .await
            .during(act)?;
        Ok(format!("SQLite {version}, journal mode {mode}"))
    }
}

/// An URL for people: `postgres://user:secret@host/db` without the secret.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A password among the parameters is no better.
    let path = path.split('?').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => format!("{scheme}://{authority}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_url_for_people_has_no_password() {
        for (url, shown) in [
            (
                "postgres://ann:s%40cret@db:5432/journey?sslmode=require",
                "postgres://ann@db:5432/journey",
            ),
            (
                "postgres://db/journey?password=secret",
                "postgres://db/journey",
            ),
            ("postgres://ann@db/journey", "postgres://ann@db/journey"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
