//! The settings: the only file that reads the environment.

pub mod secret;
