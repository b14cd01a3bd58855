//! Tests of the order journey: its store on both databases, and the reconciler against random worlds.

mod desk;
mod file;
mod inventory;
mod model;
mod postgres;
mod proof;
mod registry;
mod run;
mod sheets;
mod store;
mod web;
