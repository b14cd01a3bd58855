//! Tests of the order journey: its store on both databases, and the reconciler against random worlds.

mod file;
mod model;
mod postgres;
mod run;
mod store;
