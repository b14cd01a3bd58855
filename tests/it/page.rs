//! The operator page and `dig-ingest status`: what is served to whom, with which headers, and what a browser makes of it.

mod browser;
mod driver;
mod guard;
mod site;
mod status;
mod words;
