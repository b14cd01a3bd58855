//! Hold and release against random registries, owners and faults: thousands of seeds, no threads, no sockets.
//!
//! Devices become known, pending, active, pending again and terminated while their records flow, and the gateway fails on some. Owners are revoked and killed;
//! what they had on the wire, letters and marks may arrive after their successor has begun. Judged from outside: by what the
//! gateway got, what the held topic has and what the marks say.
//!
//! A failing seed is printed; `DIG_HOLDING_SEED=N` runs that one alone, `DIG_HOLDING_SEEDS=N` as many.

mod copies;
pub mod failure;
mod sent;
mod world;

use dig_ingest::pipeline::gate::TerminatedPolicy;
use dig_ingest::registry::State;
use rand::Rng;

use self::world::{DEVICES, World, device_id};
use crate::simulation::Named;

fn live_through(seed: u64) -> (u64, u64, u64) {
    let _named = Named("DIG_HOLDING_SEED", seed);
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(200..1_500) {
        world.step();
    }
    world.faults = false;
    world.late_letters.clear();
    for device in 0..DEVICES {
        let state = match device % 3 {
            0 => State::Pending,
            2 if world.rng.random_bool(0.5) => State::Terminated,
            _ => State::Active,
        };
        world.set(device, state);
    }
    let mut steps = 0;
    while !world.at_rest() {
        world.step();
        steps += 1;
        assert!(steps < 100_000, "the world does not come to rest");
    }
    for (_, device, number) in &world.log {
        let known = world.registry.device(&device_id(*device)).expect("known");
        let state = known.state();
        let there = match state {
            _ if world.accepted.contains(number) || world.lettered.contains(number) => true,
            State::Active => false,
            State::Pending => world.is_held(*number),
            State::Terminated => world.policy == TerminatedPolicy::Discard,
        };
        assert!(there, "lost: {number} of device {device}, {state:?}");
    }
    world.leave(true);
    (world.released, world.repeats, world.quarantined)
}

#[test]
fn held_records_are_released_in_order_under_any_seed() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("DIG_HOLDING_SEED") {
        live_through(seed);
        return;
    }
    let seeds = number("DIG_HOLDING_SEEDS").unwrap_or(1_000);
    let (mut released, mut repeats, mut quarantined) = (0, 0, 0);
    for seed in 0..seeds {
        let (more, again, failing) = live_through(seed);
        (released, repeats) = (released + more, repeats + again);
        quarantined += failing;
    }
    assert!(released > seeds, "little was released: {released}");
    assert!(quarantined > 0, "no device failed for long");
    assert!(repeats > 0, "the faults never made a record arrive twice");
}
