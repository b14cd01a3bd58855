//! The registry's topic as the orders journey compares it with its store: every device with the unit it is, and the store's mark.
//!
//! Holds all devices in memory once; a [`super::Snapshot`] leaves out what only the journey asks for.

use std::collections::BTreeMap;

use super::Device;
use super::mark::Mark;

/// A device of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub device: Device,
    /// The unit of its order that it is; none if no order is behind it, or a version wrote it that did not say so yet.
    pub unit: Option<Box<str>>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// By device id.
    pub devices: BTreeMap<Box<str>, Entry>,
    /// None: no store has ever published one, or the topic was made anew.
    pub mark: Option<Mark>,
}
