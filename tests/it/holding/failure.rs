//! Parts of requests that come to no verdict, at random.

use dig_ingest::http::pacing::blame::Blame;
use dig_ingest::pipeline::request::Failed;
use rand::Rng;

/// The part of a request that failed, whoever is to blame.
pub fn failed(rng: &mut impl Rng, from: u32, until: u32) -> Failed {
    let blame = [
        Blame::Gateway,
        Blame::Unknown,
        Blame::Records,
        Blame::Records,
    ];
    Failed {
        from,
        until,
        blame: blame[rng.random_range(0..blame.len())],
        seen: 0,
        asked_to_wait: rng.random_bool(0.2),
        retry_after: None,
        ambiguous: true,
        silent: 0,
        status: 500,
        text: String::new(),
    }
}
