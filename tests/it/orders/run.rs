//! The whole journey as it runs: two instances on one store, one acts; what one began the other ends; the topic follows at once.

use std::sync::Arc;

use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::settings::Config;
use dig_ingest::orders::store::{self, Store};
use dig_ingest::orders::{Parts, run, wall_clock};
use dig_ingest::registry::State;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::model::people;
use super::model::world::World;
use super::registry::{self, Shared};
use crate::support::wait_for;

fn parts(world: &World, store: &Store, name: &str, topic: &Shared) -> Parts<World> {
    Parts {
        market: world.clone(),
        store: store.clone(),
        open: registry::open(topic),
        outside: super::recover::Said::nothing().outside(),
        clock: wall_clock(),
        name: name.into(),
    }
}

#[test]
fn one_instance_acts_and_the_other_goes_on_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut dice = StdRng::seed_from_u64(1);
    let world = World::new(1, &mut dice);
    world.calm();
    // Leases are kept by the wall clock; the world's runs ahead of it while we wait for its lags.
    let ahead = jiff::Timestamp::now().as_second() - world.now().as_second();
    world.pass(ahead);
    let config = Arc::new(Config {
        lease_s: 5,
        readiness_every_s: 1,
        ..super::model::config(&mut dice)
    });
    let opened = store::Config {
        file: directory.path().join("orders.db"),
        ..store::Config::default()
    };
    let store = runtime.block_on(Store::init(&opened)).unwrap();
    let topic = Shared::default();
    let start = |name: &str| {
        let stop = CancellationToken::new();
        let task = runtime.spawn(run(
            Arc::clone(&config),
            parts(&world, &store, name, &topic),
            stop.clone(),
        ));
        (stop, task)
    };
    let holder = || runtime.block_on(store.lease_holder()).unwrap().name;
    let (stop_first, first) = start("first");
    wait_for("the first has the lease", || {
        (holder() == "first").then_some(())
    });
    let (stop_second, second) = start("second");
    let order = world.place("CTD-100", 1);
    let id = order.to_string();
    let state = |id: &str| {
        let units = runtime.block_on(store.units(id)).unwrap();
        units.first().map(|row| row.unit.state())
    };
    // The world's time passes by what is asked of it, and by us.
    wait_for("taken in and provisioned by the first", || {
        world.pass(1);
        (state(&id) == Some("assigned")).then_some(())
    });
    assert_eq!(holder(), "first");
    stop_first.cancel();
    runtime.block_on(first).unwrap().unwrap();
    wait_for("the second has the lease", || {
        world.pass(1);
        (holder() == "second").then_some(())
    });
    wait_for("active by the second", || {
        world.pass(5);
        runtime.block_on(people::settle(&world, &store, &config, &mut dice));
        store.hint();
        (state(&id) == Some("active")).then_some(())
    });
    wait_for("the topic follows", || {
        let topic = topic.lock().unwrap();
        let last = topic.log.last().cloned();
        let active = matches!(last, Some(Entry::Put(device, _)) if device.state == State::Active);
        drop(topic);
        // Marked as published behind the commit.
        let waiting = runtime.block_on(store.unpublished_count()).unwrap();
        (active && waiting == 0).then_some(())
    });
    stop_second.cancel();
    runtime.block_on(second).unwrap().unwrap();
    let unpublished = runtime.block_on(store.unpublished_count()).unwrap();
    assert_eq!(unpublished, 0);
    let given = runtime.block_on(store.intents()).unwrap();
    assert_eq!(given.len(), 1, "provisioned once: {given:?}");
    runtime.block_on(store.close());
}
