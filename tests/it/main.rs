//! The one integration binary: a module per subject.

mod commands;
mod contract;
mod dig_client;
mod kafka;
mod mappings;
mod mock;
mod records;
mod settings;
mod simulation;
mod simulator;
mod support;
mod tree;
