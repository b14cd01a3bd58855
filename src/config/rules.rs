//! Rules over several settings, or over values that their type cannot bound.

use super::Settings;
use super::layers::Places;
use super::problem::Problem;

/// Every rule that is broken, with the place of the value at fault.
pub fn broken(settings: &Settings, places: &Places) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut rule = |holds: bool, key: &str, what: &str, remedy: &str| {
        if !holds {
            let (what, remedy) = (what.to_owned(), remedy.to_owned());
            found.push(Problem {
                place: places.of(key),
                key: key.to_owned(),
                what,
                remedy,
            });
        }
    };
    rule(
        (1..=5000).contains(&settings.batch.max_records),
        "batch.max_records",
        "a request holds at least 1 record, and the gateway takes at most 5000",
        "give a number from 1 to 5000",
    );
    rule(
        settings.batch.max_bytes >= 1024,
        "batch.max_bytes",
        "not even a few records fit",
        "give at least 1024 (bytes)",
    );
    rule(
        settings.ops.stall_after_s > 0,
        "ops.stall_after_s",
        "a worker cannot be called stalled at once",
        "give at least 1 (second)",
    );
    if let Err(error) = settings.log.filter() {
        rule(
            false,
            "log.level",
            &error,
            "give error, warn, info, debug or trace, or directives such as info,dig_ingest::dig=debug",
        );
    }
    found
}
