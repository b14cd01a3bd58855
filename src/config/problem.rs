//! What is wrong with the settings: every problem names its place, the key, what is wrong and the remedy.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingSource {
    /// A line of the settings file; lines count from 1.
    File(PathBuf, usize),
    /// An environment variable, by its name.
    Variable(String),
    /// A `--set` flag; its value is not kept, it may be a secret.
    Flag,
    /// Nowhere: the default, or several settings together.
    Default,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag --set"),
            Self::Default => f.write_str("settings"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: SettingSource,
    /// The dotted key, or what stood where a key was expected; empty when the file as a whole is at fault.
    pub key: String,
    pub what: String,
    /// What to do about it; empty when `what` says so already.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Why the settings cannot be used: all problems that were found, in the order of their keys.
#[derive(Debug)]
pub struct Error(pub Vec<Problem>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} problems in the settings", many.len())?;
                many.iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Error {}

/// The known word that is nearest to what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::osa_distance(written, word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(written.len()) / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_when_near() {
        let known = ["linger_ms", "max_records", "max_bytes"];
        assert_eq!(nearest("lingerms", known), Some("linger_ms"));
        assert_eq!(nearest("max_recrods", known), Some("max_records"));
        assert_eq!(nearest("brokers", known), None);
    }
}
