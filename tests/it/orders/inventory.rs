//! Devices of the inventory file go to units by themselves: the reconciler on a store in a file, the file changed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use dig_ingest::orders::Clock;
use dig_ingest::orders::calls::Calls;
use dig_ingest::orders::round::Reconciler;
use dig_ingest::orders::store::{self, Store};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::model::{self, world::World};
use super::registry::{Shared, registrar};

async fn states(store: &Store, order: &str) -> Vec<(String, Option<String>)> {
    let units = store.units(order).await.unwrap();
    let known = |unit: &dig_ingest::orders::store::rows::UnitRow| {
        let imei = unit.unit.known().tags.imei;
        (unit.unit.state().to_owned(), imei.map(String::from))
    };
    units.iter().map(known).collect()
}

#[tokio::test]
async fn units_are_assigned_from_the_inventory_and_a_shortage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = StdRng::seed_from_u64(1);
    let world = World::new(1, &mut dice);
    world.calm();
    let mut config = model::config(&mut dice);
    config.approval = dig_ingest::orders::settings::Approval::default();
    config.inventory.auto = true;
    config.inventory.file = folder.path().join("shelf.csv");
    let shelf = |text: &str| std::fs::write(folder.path().join("shelf.csv"), text).unwrap();
    shelf(
        "imei,sim,product\n350000000000014,8900000000000000011,CTD-200\n350000000000022,8900000000000000029,OTHER\n",
    );
    let place = store::Config {
        file: folder.path().join("orders.db"),
        ..store::Config::default()
    };
    let store = Store::init(&place).await.unwrap();
    let clock: Clock = {
        let world = world.clone();
        Arc::new(move || world.now())
    };
    let lease = store.take_lease("one", Duration::from_secs(3_600), world.now());
    let token = lease.await.unwrap().expect("nobody has it");
    let registrar = Arc::new(registrar(
        &store,
        &Shared::default(),
        Arc::clone(&clock),
        token,
    ));
    registrar.compare().await.unwrap();
    let market = world.clone();
    let mut reconciler = Reconciler::new(
        market,
        store.clone(),
        Arc::new(config),
        clock,
        token,
        Calls::default(),
        registrar,
    );
    let order = world.place("CTD-200", 2).to_string();
    let kinds = async |store: &Store| {
        let alarms = store.alarms().await.unwrap();
        let told = alarms.into_iter().map(|alarm| (alarm.kind, alarm.subject));
        told.collect::<Vec<_>>()
    };
    let file = folder.path().join("shelf.csv").display().to_string();

    reconciler.round().await.unwrap();
    let first = ("assigned".to_owned(), Some("350000000000014".to_owned()));
    assert_eq!(
        states(&store, &order).await,
        [first.clone(), ("provisioned".to_owned(), None)]
    );
    let short = ("inventory-short".to_owned(), "CTD-200".to_owned());
    assert_eq!(kinds(&store).await, std::slice::from_ref(&short));

    // A line that cannot be used is told, and the good ones count.
    shelf(
        "imei,sim,product\n350000000000014,8900000000000000011,CTD-200\n3.5E+14,8900000000000000029,CTD-200\n",
    );
    reconciler.round().await.unwrap();
    let mut told = kinds(&store).await;
    told.sort();
    assert_eq!(told, [("inventory-file".to_owned(), file), short]);

    shelf(
        "imei,sim,product\n350000000000014,8900000000000000011,CTD-200\n350000000000030,8900000000000000037,\n",
    );
    reconciler.round().await.unwrap();
    let second = ("assigned".to_owned(), Some("350000000000030".to_owned()));
    assert_eq!(states(&store, &order).await, [first, second]);
    assert_eq!(kinds(&store).await, []);
    let events = store.events(&order).await.unwrap();
    let from = events.iter().filter(|event| event.act == "stock");
    let why: Vec<&str> = from.map(|event| &*event.why).collect();
    assert_eq!(
        why,
        [
            "from line 2 of the inventory",
            "from line 3 of the inventory"
        ]
    );
    store.close().await;
}
