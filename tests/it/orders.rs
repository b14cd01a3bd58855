//! Tests of the order journey: its store on both databases, and the reconciler against random worlds.

mod calls;
mod desk;
mod file;
mod inventory;
mod model;
mod postgres;
mod run;
mod sheets;
mod site;
mod store;
mod waits;
mod web;
