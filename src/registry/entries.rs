//! Entries of the registry's topic, as the orders journey compares them with its store: every device with its unit, and the
//! store's mark.
//!
//! Holds all devices in memory; a [`super::Snapshot`] leaves out the parts that only the journey uses.

use std::collections::BTreeMap;

use super::Device;
use super::mark::Mark;

/// A device of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub device: Device,
    /// The unit of its order; `None` without an order, or if the version that wrote it did not write units.
    pub unit: Option<Box<str>>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// By device id.
    pub devices: BTreeMap<Box<str>, Entry>,
    /// `None` if no store has published one, or the topic was recreated.
    pub mark: Option<Mark>,
}
