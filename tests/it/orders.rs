//! Tests of the order journey: its store on both databases, and the reconciler against random worlds.

mod calls;
pub mod desk;
mod doubted;
mod earlier;
mod file;
mod identifiers;
mod inventory;
mod later;
mod mail;
mod mixed_up;
mod model;
mod pdf;
mod picking;
mod postgres;
mod proof;
pub mod recover;
mod registry;
mod remedies;
mod restored;
mod run;
mod settled;
pub mod sheets;
mod site;
mod store;
mod waits;
mod web;
