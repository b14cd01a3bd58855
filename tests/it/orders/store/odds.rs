//! A device at work with which the world is at odds.

use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::store::Store;

use super::{ann, at, serial, unit};

/// What the world takes back from a device at work: shown, and the device goes on.
pub async fn of_an_active_device(store: &Store) {
    let lag = jiff::SignedDuration::from_secs(10);
    for (database, seen_at, left) in [("", 17, 0), ("fleet", 20, 0), ("", 20, 1)] {
        let mut change = store.change(Actor::Reconciler, None, at(20)).await.unwrap();
        change
            .see_serial(&serial(1), "CTD-100", database, at(seen_at))
            .await
            .unwrap();
        change.commit().await.unwrap();
        assert_eq!(
            store.left(lag).await.unwrap().len(),
            left,
            "{database:?} {seen_at}"
        );
    }
    store
        .cancel("77", "the customer asked", &ann(), at(21))
        .await
        .unwrap();
    let alarms = store.alarms().await.unwrap();
    let raised: Vec<_> = alarms
        .iter()
        .map(|alarm| (&*alarm.kind, &*alarm.subject))
        .collect();
    assert_eq!(raised, [("cancelled-active", "77.1")]);
    assert_eq!(unit(store, "77.1").await.unit.state(), "active");
}
