//! What a person should know of how secrets were given: nothing here is wrong enough to refuse the settings.
//!
//! `run` logs them at the start, `check` prints them, other commands write them to standard error. They never hold a value.

use std::path::Path;

use super::layers::PREFIX;
use super::secret::{Secret, names_secret};
use super::{ConfigArgs, Kind, Settings, private, redact};

impl ConfigArgs {
    /// The cautions about these flags and the settings they led to.
    #[must_use]
    pub fn cautions(&self, settings: &Settings) -> Vec<String> {
        let mut all = in_flags(&self.sets);
        if let Some(file) = &self.config
            && holds_secret(file)
        {
            all.extend(
                private::read_by_others(file)
                    .map(|told| format!("settings file: it holds a secret and {told}")),
            );
        }
        for (key, path) in secret_files(settings) {
            all.extend(private::read_by_others(path).map(|told| format!("{key}: {told}")));
        }
        for (key, secret) in secrets(settings) {
            if !secret.is_empty() && redact::is_too_short(secret.reveal()) {
                all.push(format!(
                    "{key}: has fewer than {} characters, so it cannot be removed from what servers answer; use a longer one",
                    redact::SHORT
                ));
            }
        }
        all
    }
}

/// Secrets among `--set` flags.
fn in_flags(sets: &[String]) -> Vec<String> {
    let schema = Settings::schema();
    let keys = sets.iter().filter_map(|set| set.split_once('='));
    let secret = |key: &str| {
        schema.get(key) == Some(&Kind::Secret) || !schema.contains_key(key) && names_secret(key)
    };
    keys.map(|(key, _)| key.trim())
        .filter(|key| secret(key))
        .map(|key| {
            let known = schema.contains_key(key);
            let variable = key.to_ascii_uppercase().replace('.', "__");
            let file = format!("{key}_file");
            let instead = match (known, schema.contains_key(&file)) {
                (true, true) => format!("the variable {PREFIX}{variable}, or {file}"),
                (true, false) => format!("the variable {PREFIX}{variable}"),
                (false, _) => "a settings file".to_owned(),
            };
            format!("--set {key}: every user of this machine can read it in the list of processes; give it by {instead}")
        })
        .collect()
}

/// Whether a settings file states a secret itself.
fn holds_secret(file: &Path) -> bool {
    fn any(table: &toml::Table) -> bool {
        table.iter().any(|(name, value)| match value {
            toml::Value::Table(inner) => any(inner),
            toml::Value::String(text) => {
                !text.is_empty() && names_secret(name) && !name.ends_with("_file")
            }
            _ => false,
        })
    }
    std::fs::read_to_string(file)
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| any(&table))
}

/// Files that hold a secret, by setting.
fn secret_files(settings: &Settings) -> Vec<(&'static str, &Path)> {
    let mut files: Vec<(&str, &Path)> = vec![
        (
            "kafka.sasl_password_file",
            settings.kafka.sasl_password_file.as_ref(),
        ),
        (
            "kafka.oauth.client_secret_file",
            settings.kafka.oauth.client_secret_file.as_ref(),
        ),
        (
            "kafka.aws.credentials_file",
            settings.kafka.aws.credentials_file.as_ref(),
        ),
        ("orders.web.token_file", &settings.orders.web.token_file),
        ("ops.page.token_file", &settings.ops.page.token_file),
    ];
    let optional = [
        ("dig.password_file", &settings.dig.password_file),
        ("myadmin.password_file", &settings.myadmin.password_file),
    ];
    files.extend(
        optional
            .iter()
            .filter_map(|(key, file)| Some((*key, file.as_deref()?))),
    );
    if let Some(key) = settings.kafka.properties.get("ssl.key.location") {
        files.push(("kafka.properties.\"ssl.key.location\"", key.as_ref()));
    }
    if settings.orders.enabled && settings.orders.store.url.is_empty() {
        files.push(("orders.store.file", &settings.orders.store.file));
    }
    files.retain(|(_, path)| !path.as_os_str().is_empty());
    files
}

/// The secrets that were given as they are.
fn secrets(settings: &Settings) -> [(&'static str, &Secret); 5] {
    [
        ("kafka.sasl_password", &settings.kafka.sasl_password),
        ("dig.password", &settings.dig.password),
        ("myadmin.password", &settings.myadmin.password),
        ("orders.web.token", &settings.orders.web.token),
        ("ops.page.token", &settings.ops.page.token),
    ]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn ways_to_give_a_secret_that_others_can_read_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let file = written("password", "hunter2hunter2", 0o644);
        let config = written(
            "job.toml",
            &format!("[dig]\npassword_file = {file:?}\n[myadmin]\npassword = \"q7\"\n"),
            0o640,
        );
        let args = ConfigArgs {
            config: Some(config.clone()),
            sets: vec![
                "kafka.sasl_password=S3CRET1".to_owned(),
                "kafka.properties.ssl.key.password=S3CRET2".to_owned(),
                "dig.url=http://127.0.0.1:1/".to_owned(),
            ],
        };
        let settings = args.load().unwrap();
        let cautions = args.cautions(&settings);
        let all = cautions.join("\n");
        assert_eq!(cautions.len(), 5, "{all}");
        for part in [
            "--set kafka.sasl_password: ",
            "DIG_INGEST__KAFKA__SASL_PASSWORD, or kafka.sasl_password_file",
            "--set kafka.properties.ssl.key.password: ",
            "settings file: it holds a secret",
            "dig.password_file: ",
            "chmod 600",
            "myadmin.password: has fewer than 4",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
        assert!(!all.contains("S3CRET") && !all.contains("q7"), "{all}");
    }

    #[test]
    fn nothing_is_said_of_secrets_that_only_their_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        private::write(&file, b"hunter2hunter2").unwrap();
        let args = ConfigArgs {
            config: None,
            sets: vec![format!("dig.password_file={}", file.display())],
        };
        let settings = args.load().unwrap();
        assert_eq!(args.cautions(&settings), Vec::<String>::new());
    }
}
