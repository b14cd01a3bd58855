//! The validation rules, as data.

/// Settings of validation (`[validate]`).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The compiled rules.
#[derive(Debug, Default)]
pub struct Rules {}

impl Rules {
    #[must_use]
    pub fn new(_config: &Config) -> Self {
        Self {}
    }
}
