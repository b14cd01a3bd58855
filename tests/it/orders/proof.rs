//! The store as one of three memories: lost, put back from a copy, beside another one, carried over (P3); and the topic healed (G2).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dig_ingest::orders::alarms::AlarmShown;
use dig_ingest::orders::calls::Calls;
use dig_ingest::orders::journey::{Actor, Parcel, Serial, Tags};
use dig_ingest::orders::lease::Lease;
use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::recovery::{self, Known, Plan, Target};
use dig_ingest::orders::registrar::{self, Registrar};
use dig_ingest::orders::round::Reconciler;
use dig_ingest::orders::settings::{Config, Fulfilment, Mode};
use dig_ingest::orders::store::devices::Ended;
use dig_ingest::orders::store::identity::{Origin, Proof};
use dig_ingest::orders::store::listed_devices::SeenRow;
use dig_ingest::orders::store::{self, Error, Store};
use dig_ingest::orders::{Clock, wall_clock};
use dig_ingest::registry::{Device, State};
use jiff::Timestamp;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::model;
use super::model::world::World;
use super::registry::{Fate, Shared, publish, registrar};
use crate::support::marks as made_up;

/// A market without faults, and what one instance works on.
struct Scene {
    world: World,
    config: Arc<Config>,
    place: store::Config,
    topic: Shared,
    folder: tempfile::TempDir,
}

/// One holding of the lease.
struct Holding {
    store: Store,
    registrar: Arc<Registrar>,
    reconciler: Reconciler<World>,
}

impl Scene {
    fn new() -> Self {
        let mut dice = StdRng::seed_from_u64(1);
        let world = World::new(1, &mut dice);
        world.calm();
        let config = Config {
            fulfilment: Fulfilment {
                mode: Mode::Api,
                ..Fulfilment::default()
            },
            approval: dig_ingest::orders::settings::Approval::default(),
            ..model::config(&mut dice)
        };
        let folder = tempfile::tempdir().unwrap();
        Self {
            place: store::Config {
                file: folder.path().join("orders.db"),
                ..store::Config::default()
            },
            config: Arc::new(config),
            topic: Shared::default(),
            world,
            folder,
        }
    }

    async fn hold(&self, store: Store) -> Holding {
        self.world.pass(31);
        let world = self.world.clone();
        let clock: Clock = Arc::new(move || world.now());
        let life = Duration::from_secs(30);
        let token = store.take_lease("one", life, self.world.now()).await;
        let token = token.unwrap().expect("nobody has it");
        let registrar = registrar(&store, &self.topic, Arc::clone(&clock), token);
        let registrar = Arc::new(registrar);
        let reconciler = Reconciler::new(
            self.world.clone(),
            store.clone(),
            Arc::clone(&self.config),
            clock,
            token,
            Calls::default(),
            Arc::clone(&registrar),
        );
        Holding {
            store,
            registrar,
            reconciler,
        }
    }

    /// What a person is shown.
    async fn plan(&self, store: &Store) -> Plan {
        let own = registrar::own(store).await.unwrap();
        let now = self.world.now();
        let unclaimed = self
            .world
            .listed()
            .into_iter()
            .filter_map(|(serial, code)| {
                let serial = Serial::parse(&serial).unwrap();
                (!own.serials.contains(&serial)).then(|| SeenRow {
                    serial,
                    product_code: code,
                    owner_database: String::new(),
                    first_seen: now,
                    last_seen: now,
                })
            });
        let entries = self.topic.lock().unwrap().entries.clone();
        let known = Known {
            unclaimed: unclaimed.collect(),
            entries,
            wholes: store.open_orders(Timestamp::MIN).await.unwrap(),
            accepted: store.accepted_serials().await.unwrap(),
            intents: store.intents_in_doubt().await.unwrap(),
            own,
        };
        recovery::plan(&known, &self.config)
    }

    fn remove_store(&self) {
        for ending in ["", "-wal", "-shm"] {
            let name = format!("{}{ending}", self.place.file.display());
            if Path::new(&name).exists() {
                std::fs::remove_file(name).unwrap();
            }
        }
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }
}

impl Holding {
    /// Rounds and publications until nothing more happens.
    async fn work(&mut self, world: &World) {
        for _ in 0..12 {
            world.pass(130);
            // Not every publication succeeds; the next one goes on.
            let _ = publish(&self.registrar).await;
            self.reconciler.round().await.unwrap();
        }
        let _ = publish(&self.registrar).await;
    }

    /// Gives a unit its marks, ships it and has MyAdmin told.
    async fn send(&mut self, world: &World, unit: &str, number: &str) {
        let row = self.store.unit(unit).await.unwrap().unwrap();
        let mut tags = super::site::marks(&row);
        if row.replaces.is_some() {
            // Another device than the one that it replaces.
            let line: u64 = row.line.id.parse().unwrap();
            tags = Tags {
                imei: Some(made_up::imei(line + 1_000).into()),
                sim: Some(made_up::iccid(line + 1_000).into()),
                device_id: None,
            };
        }
        let now = world.now();
        let given = self.store.assign(unit, None, &tags, &ann(), now).await;
        given.unwrap();
        let parcel = Parcel::new("Post", [number]).unwrap();
        let (units, by) = ([unit.to_owned()], ann());
        let shipped = self
            .store
            .ship(&row.order_id, Some(&units), &parcel, &by, now);
        shipped.await.unwrap();
        self.work(world).await;
    }

    async fn serials(&self, order: u64) -> Vec<Option<String>> {
        let units = self.store.units(&order.to_string()).await.unwrap();
        let serials = units.iter().map(|row| row.unit.serial());
        serials
            .map(|serial| serial.map(|one| one.to_string()))
            .collect()
    }
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

async fn alarms(store: &Store) -> Vec<String> {
    let alarms = store.alarms().await.unwrap();
    alarms.into_iter().map(|alarm| alarm.kind).collect()
}

/// Everything that was provisioned since the copy is in the registry and in MyAdmin: nothing is made twice.
#[tokio::test]
async fn a_store_put_back_from_an_older_copy_provisions_nothing_until_it_is_recovered() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    let first = scene.world.place("CTD-100", 1);
    holding.work(&scene.world).await;
    holding
        .store
        .backup(&scene.place, &scene.copy())
        .await
        .unwrap();
    let second = scene.world.place("CTD-100", 2);
    holding.work(&scene.world).await;
    let made = [holding.serials(first).await, holding.serials(second).await];
    assert_eq!(scene.world.made_for_us().len(), 3);
    holding.store.close().await;

    scene.remove_store();
    std::fs::copy(scene.copy(), &scene.place.file).unwrap();
    let mut holding = scene.hold(Store::open(&scene.place).await.unwrap()).await;
    let before = scene.topic.lock().unwrap().entries.clone();
    holding.work(&scene.world).await;
    assert_eq!(scene.world.made_for_us().len(), 3, "provisioned again");
    assert_eq!(scene.topic.lock().unwrap().entries, before, "published");
    assert!(
        alarms(&holding.store)
            .await
            .contains(&"store-not-proven".to_owned())
    );
    let standing = holding.store.standing(scene.world.now()).await.unwrap();
    assert_eq!(standing.identity.proof, Proof::Unproven);
    assert!(standing.identity.why.contains("older copy"), "{standing:?}");

    let plan = scene.plan(&holding.store).await;
    assert_eq!(plan.adopt.len(), 2, "{plan:#?}");
    assert!(plan.open.is_empty() && plan.in_doubt.is_empty() && plan.accept.is_empty());
    assert!(plan.to_provision.is_empty(), "{plan:#?}");
    let now = scene.world.now();
    holding.store.recover(&plan, &ann(), now).await.unwrap();
    let third = scene.world.place("CTD-100", 1);
    holding.work(&scene.world).await;
    assert_eq!(
        [holding.serials(first).await, holding.serials(second).await],
        made
    );
    assert!(holding.serials(third).await[0].is_some(), "it goes on");
    assert_eq!(scene.world.made_for_us().len(), 4);
    assert_eq!(alarms(&holding.store).await, [""; 0]);
    let events = holding.store.events(&second.to_string()).await.unwrap();
    let adopted = events.iter().filter(|event| event.act == "adopt").count();
    assert_eq!(adopted, 2, "{events:#?}");
    holding.store.close().await;
}

/// A new store learns the units from the registry when their orders are taken in, also if a person accepts before that.
#[tokio::test]
async fn a_lost_store_gets_its_serials_back_from_the_registry() {
    for early in [true, false] {
        let scene = Scene::new();
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        let order = scene.world.place("CTD-200", 2);
        holding.work(&scene.world).await;
        let made = holding.serials(order).await;
        holding.store.close().await;
        scene.remove_store();
        let missing = Store::open(&scene.place).await.unwrap_err();
        assert!(matches!(missing, Error::Missing(_)), "{missing}");
        for remedy in ["orders init", "orders backup", "orders recover"] {
            assert!(missing.to_string().contains(remedy), "{missing}");
        }
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        if early {
            assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Unproven);
        } else {
            holding.work(&scene.world).await;
            assert_eq!(scene.world.made_for_us().len(), 2, "provisioned again");
        }
        let plan = scene.plan(&holding.store).await;
        let later = |target: &Target| matches!(target, Target::Later { .. });
        assert_eq!(plan.adopt.len(), 2, "{plan:#?}");
        assert!(plan.adopt.iter().all(|one| later(&one.target) == early));
        let now = scene.world.now();
        holding.store.recover(&plan, &ann(), now).await.unwrap();
        holding.work(&scene.world).await;
        assert_eq!(holding.serials(order).await, made);
        assert_eq!(scene.world.made_for_us().len(), 2);
        holding.store.close().await;
    }
}

/// A termination sheet is obeyed before a person has recovered the store: the store knows the device then and not its unit, which
/// keeps its serial and ends.
#[tokio::test]
async fn a_sheet_that_came_before_the_recovery_costs_no_unit_its_serial() {
    for taken_in in [true, false] {
        let scene = Scene::new();
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        let order = scene.world.place("CTD-100", 2);
        holding.work(&scene.world).await;
        let made = holding.serials(order).await;
        holding.store.close().await;
        scene.remove_store();
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        if taken_in {
            holding.work(&scene.world).await;
        } else {
            assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Unproven);
        }
        let serial = Serial::parse(made[0].as_ref().expect("one was made")).unwrap();
        let registered: Vec<Device> = {
            let topic = scene.topic.lock().unwrap();
            let devices = topic.entries.devices.values();
            let devices = devices.map(|entry| entry.device.clone());
            devices
                .filter(|device| device.serial.as_deref() == Some(serial.as_str()))
                .collect()
        };
        let evidence = serde_json::json!({});
        let now = scene.world.now();
        let by = ann();
        let device = (&registered[0], &serial);
        let ended = holding
            .store
            .terminate_device(device, "a sheet", &evidence, &by, now);
        assert_eq!(ended.await.unwrap(), Ended::Now);
        let plan = scene.plan(&holding.store).await;
        assert_eq!(plan.adopt.len(), 2, "{plan:#?}");
        assert!(plan.to_provision.is_empty(), "{plan:#?}");
        let now = scene.world.now();
        holding.store.recover(&plan, &ann(), now).await.unwrap();
        holding.work(&scene.world).await;
        assert_eq!(holding.serials(order).await, made);
        assert_eq!(scene.world.made_for_us().len(), 2, "provisioned again");
        let units = holding.store.units(&order.to_string()).await.unwrap();
        assert_eq!(units[0].unit.state(), "terminated");
        let topic = scene.topic.lock().unwrap().entries.clone();
        let entry = topic
            .devices
            .values()
            .find(|entry| entry.device.serial.as_deref() == Some(serial.as_str()));
        let entry = entry.expect("it is known");
        assert_eq!(entry.device.state, State::Terminated);
        assert_eq!(entry.unit.as_deref(), Some(&*units[0].id));
        holding.store.close().await;
    }
}

/// After the copy was made a device was replaced (RMA), and the new one shipped: the store reports nothing to MyAdmin before it is
/// recovered, the new unit is made anew with its serial, and its parcel stays in MyAdmin.
#[tokio::test]
async fn a_restored_store_takes_back_no_shipment_and_no_replacement() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    let order = scene.world.place("CTD-200", 1).to_string();
    holding.work(&scene.world).await;
    let first = holding.store.units(&order).await.unwrap().remove(0).id;
    holding.send(&scene.world, &first, "T1").await;
    holding
        .store
        .backup(&scene.place, &scene.copy())
        .await
        .unwrap();
    let now = scene.world.now();
    let by = ann();
    let replaced = holding.store.replace(&first, "RMA", &by, now);
    let second = replaced.await.unwrap();
    holding.work(&scene.world).await;
    holding.send(&scene.world, &second, "T2").await;
    let shown = || {
        scene.world.meanwhile(|market, _| {
            let order = market.all_orders().find(|one| one.id.to_string() == order);
            order.and_then(|order| order.tracking.clone())
        })
    };
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let made = scene.world.made_for_us();
    assert_eq!(made.len(), 2);
    let serial = holding.store.unit(&second).await.unwrap().unwrap();
    let serial = serial.unit.serial().expect("it was made");
    holding.store.close().await;

    scene.remove_store();
    std::fs::copy(scene.copy(), &scene.place.file).unwrap();
    let mut holding = scene.hold(Store::open(&scene.place).await.unwrap()).await;
    let reports = scene.world.reports();
    holding.work(&scene.world).await;
    assert_eq!(
        scene.world.reports(),
        reports,
        "reported before the recovery"
    );
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let plan = scene.plan(&holding.store).await;
    let anew = Target::Replacement {
        unit: second.clone(),
        replaces: first.clone(),
    };
    assert!(plan.adopt.iter().any(|one| one.target == anew), "{plan:#?}");
    let now = scene.world.now();
    holding.store.recover(&plan, &ann(), now).await.unwrap();
    holding.work(&scene.world).await;
    assert_eq!(scene.world.made_for_us(), made, "provisioned again");
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let first = holding.store.unit(&first).await.unwrap().unwrap();
    assert_eq!(first.unit.state(), "terminated");
    let row = holding.store.unit(&second).await.unwrap().unwrap();
    assert_eq!(row.unit.serial(), Some(serial));
    let standing = alarms(&holding.store).await;
    assert!(
        standing.contains(&"parcel-unknown".to_owned()),
        "{standing:?}"
    );
    // Its parcel is given again by a person.
    holding.send(&scene.world, &second, "T2").await;
    let standing = alarms(&holding.store).await;
    assert!(
        !standing.contains(&"parcel-unknown".to_owned()),
        "{standing:?}"
    );
    scene.world.own_all();
    holding.work(&scene.world).await;
    let row = holding.store.unit(&second).await.unwrap().unwrap();
    assert_eq!(row.unit.state(), "active");
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    holding.store.close().await;
}

/// The generation of an intent is in the topic before its call leaves, so that even a call without an answer is known of.
#[tokio::test]
async fn a_call_that_an_older_copy_does_not_know_of_parks_its_unit() {
    let scene = Scene::new();
    let holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    holding.registrar.compare().await.unwrap();
    let order = scene.world.place("CTD-100", 1).to_string();
    let mut holding = holding;
    scene.world.pass(130);
    holding
        .store
        .backup(&scene.place, &scene.copy())
        .await
        .unwrap();
    // The intent is published, and then the process is gone.
    {
        let round = holding.reconciler.round();
        tokio::pin!(round);
        loop {
            let _ = futures_util::poll!(&mut round);
            tokio::task::yield_now().await;
            let topic = scene.topic.lock().unwrap();
            let mark = topic.entries.mark.as_ref();
            if mark.is_some_and(|mark| !mark.open.is_empty()) {
                break;
            }
        }
    }
    holding.store.close().await;
    scene.remove_store();
    std::fs::copy(scene.copy(), &scene.place.file).unwrap();
    let mut holding = scene.hold(Store::open(&scene.place).await.unwrap()).await;
    holding.work(&scene.world).await;
    let plan = scene.plan(&holding.store).await;
    assert_eq!(
        plan.in_doubt,
        [format!("{order}.{}", unit_line(&holding, &order).await)]
    );
    let now = scene.world.now();
    holding.store.recover(&plan, &ann(), now).await.unwrap();
    let made = scene.world.made_for_us().len();
    holding.work(&scene.world).await;
    assert_eq!(scene.world.made_for_us().len(), made, "called again");
    let units = holding.store.units(&order).await.unwrap();
    assert_eq!(units[0].unit.state(), "parked");
    holding.store.close().await;
}

async fn unit_line(holding: &Holding, order: &str) -> String {
    let units = holding.store.units(order).await.unwrap();
    units[0].line.id.clone()
}

/// Two stores publish to one topic: a second copy of the store, and one that was made anew.
#[tokio::test]
async fn of_two_copies_only_the_one_that_published_last_provisions() {
    let scene = Scene::new();
    let first = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    first.registrar.compare().await.unwrap();
    first
        .store
        .backup(&scene.place, &scene.copy())
        .await
        .unwrap();
    let beside = store::Config {
        file: scene.copy(),
        ..scene.place.clone()
    };
    let mut second = scene.hold(Store::open(&beside).await.unwrap()).await;
    // It knows all that was published: nothing tells it from the first one yet.
    assert_eq!(second.registrar.compare().await.unwrap(), Proof::Proven);
    scene.world.place("CTD-100", 1);
    second.work(&scene.world).await;
    assert_eq!(scene.world.made_for_us().len(), 1);
    // The first one was fenced, and does not know what the second one published.
    let mut first = first;
    first.work(&scene.world).await;
    assert_eq!(first.registrar.standing(), Proof::Unproven);
    assert_eq!(scene.world.made_for_us().len(), 1, "provisioned twice");
    first.store.close().await;
    second.store.close().await;
}

/// A serial that nothing explains stops its product, and no other one.
#[tokio::test]
async fn while_an_unexplained_serial_stands_nothing_of_its_product_is_provisioned() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    holding.work(&scene.world).await;
    scene.world.pass(1_000);
    let stranger = scene.world.stranger();
    // Until it is listed nobody can know of it.
    scene.world.pass(1_000);
    holding.work(&scene.world).await;
    let blocked = scene.world.place("CTD-100", 1);
    let other = scene.world.place("CTD-200", 1);
    holding.work(&scene.world).await;
    assert_eq!(holding.serials(blocked).await, [None]);
    assert!(holding.serials(other).await[0].is_some());
    let standing = holding.store.alarms().await.unwrap();
    let orphan = standing.iter().find(|alarm| alarm.kind == "orphan-serial");
    let orphan = orphan.expect("a person is told");
    assert_eq!(orphan.subject, stranger);
    let remedy = AlarmShown::from(orphan.clone()).remedy;
    assert!(remedy.contains("orders clear orphan-serial"), "{remedy}");
    let plan = scene.plan(&holding.store).await;
    assert_eq!((plan.doubt.clone(), plan.accept.len()), (None, 1));
    let now = scene.world.now();
    holding.store.recover(&plan, &ann(), now).await.unwrap();
    holding.work(&scene.world).await;
    assert!(holding.serials(blocked).await[0].is_some());
    assert_eq!(alarms(&holding.store).await, [""; 0]);
    holding.store.close().await;
}

/// The topic is deleted, and a hand changes it: it is written again, counted and alarmed.
#[tokio::test]
async fn a_topic_that_was_lost_or_changed_by_hand_is_written_again() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    scene.world.place("CTD-200", 1);
    holding.work(&scene.world).await;
    let told = || scene.topic.lock().unwrap().entries.devices.clone();
    let right = told();
    assert_eq!(right.len(), 1);
    let (id, entry) = right.first_key_value().unwrap();
    let by_hand = |state| {
        let device = Device {
            state,
            ..entry.device.clone()
        };
        Entry::Put(device, entry.unit.clone())
    };
    for written in [
        by_hand(State::Active),
        by_hand(State::Terminated),
        Entry::Forget(id.clone()),
    ] {
        scene.topic.lock().unwrap().commit(written);
        assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Proven);
        assert_eq!(told(), right);
    }
    scene.topic.lock().unwrap().entries = Default::default();
    assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Proven);
    assert_eq!(told(), right);
    let alarms = holding.store.alarms().await.unwrap();
    let differs: Vec<_> = alarms
        .iter()
        .filter(|alarm| alarm.kind == "registry-differs")
        .map(|alarm| alarm.times)
        .collect();
    assert_eq!(differs, [4]);
    holding.store.close().await;
}

/// A version that let one device take the key of another left units whose device is in no registry: they are written again.
#[tokio::test]
async fn a_unit_without_an_entry_of_its_own_gets_it_back() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    scene.world.place("CTD-200", 2);
    holding.work(&scene.world).await;
    let right = scene.topic.lock().unwrap().entries.devices.clone();
    assert_eq!(right.len(), 2);
    let lost = right.first_key_value().unwrap().0.to_string();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&scene.place.file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for (table, column) in [("devices", "device_id"), ("outbox", "device_id")] {
        sqlx::query(&format!("DELETE FROM {table} WHERE {column} = $1"))
            .bind(&lost)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
    scene
        .topic
        .lock()
        .unwrap()
        .commit(Entry::Forget(lost.as_str().into()));
    assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Proven);
    publish(&holding.registrar).await.unwrap();
    assert_eq!(scene.topic.lock().unwrap().entries.devices, right);
    let events = holding.store.events_after(0).await.unwrap();
    let written = events.iter().filter(|event| event.act == "register");
    assert_eq!(written.count(), 1);
    holding.store.close().await;
}

/// A change that is larger than the topic takes is in the outbox and named in an alarm; the others are written. Once the topic takes
/// it, the alarm ends.
#[tokio::test]
async fn a_change_that_its_topic_does_not_take_is_named_and_keeps_no_other_back() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    scene.topic.lock().unwrap().picky = true;
    scene.world.place("CTD-200", 3);
    holding.work(&scene.world).await;
    let refused = scene.topic.lock().unwrap().too_large.clone().unwrap();
    let written = || scene.topic.lock().unwrap().entries.devices.len();
    assert_eq!(written(), 2);
    let waiting = holding.store.unpublished_ids().await.unwrap();
    let waiting: Vec<String> = waiting.into_iter().collect();
    assert_eq!(waiting, std::slice::from_ref(&refused));
    let standing = holding.store.alarms().await.unwrap();
    let alarm = standing.iter().find(|alarm| alarm.subject == refused);
    let alarm = AlarmShown::from(alarm.expect("an alarm").clone());
    assert_eq!(alarm.row.kind, "registry-too-large");
    assert!(alarm.remedy.contains("max.message.bytes"), "{alarm:?}");
    scene.topic.lock().unwrap().too_large = None;
    publish(&holding.registrar).await.unwrap();
    assert_eq!(written(), 3);
    assert_eq!(holding.store.unpublished_count().await.unwrap(), 0);
    assert_eq!(alarms(&holding.store).await, [""; 0]);
    holding.store.close().await;
}

/// A holder that was replaced and still writes is refused; a transaction whose answer was lost is no doubt about the store.
#[tokio::test]
async fn a_replaced_holder_writes_nothing_and_a_lost_answer_proves_nothing_wrong() {
    let scene = Scene::new();
    let store = Store::init(&scene.place).await.unwrap();
    let mut old = scene.hold(store.clone()).await;
    scene.world.place("CTD-200", 1);
    old.work(&scene.world).await;
    let new = scene.hold(store.clone()).await;
    new.registrar.compare().await.unwrap();
    let serial = old.store.units_in("assigned").await.unwrap();
    let given = old.store.units_in("provisioned").await.unwrap();
    let row = serial
        .first()
        .or(given.first())
        .expect("one has its serial");
    let tags = Tags {
        device_id: Some("truck".into()),
        ..Tags::default()
    };
    let now = scene.world.now();
    store
        .assign(&row.id, None, &tags, &ann(), now)
        .await
        .unwrap();
    let before = scene.topic.lock().unwrap().entries.clone();
    assert!(old.registrar.publish().await.is_err());
    assert_eq!(scene.topic.lock().unwrap().entries, before);
    scene.topic.lock().unwrap().fates = vec![Fate::AnswerLost];
    assert!(new.registrar.publish().await.is_err());
    assert_eq!(new.registrar.standing(), Proof::Unchecked);
    assert_eq!(new.registrar.compare().await.unwrap(), Proof::Proven);
    assert!(
        scene
            .topic
            .lock()
            .unwrap()
            .entries
            .devices
            .contains_key("truck")
    );
    store.close().await;
}

/// The store that `dig-ingest` 0.1.0 wrote before stores had an identity, made from its dump.
async fn carried_over(folder: &Path) -> store::Config {
    dumped(folder, "store-0.1.0.sql").await
}

/// A store made from its dump.
pub(super) async fn dumped(folder: &Path, name: &str) -> store::Config {
    let place = store::Config {
        file: folder.join("orders.db"),
        connections: 1,
        ..store::Config::default()
    };
    let dump = crate::support::root()
        .join("tests/it/orders/fixtures")
        .join(name);
    let sql = std::fs::read_to_string(dump).unwrap();
    // Its tables come in the order of their names.
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&place.file)
        .create_if_missing(true)
        .foreign_keys(false);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(&sql).execute(&pool).await.unwrap();
    pool.close().await;
    place
}

/// It gets an identity, is trusted as long as the registry shows nothing that it does not know, and loses nothing.
#[tokio::test]
async fn a_store_of_before_identities_carries_over() {
    let folder = tempfile::tempdir().unwrap();
    let place = carried_over(folder.path()).await;
    let store = Store::open(&place).await.unwrap();
    let identity = store.identity().await.unwrap();
    assert_eq!(identity.origin, Origin::CarriedOver);
    let units = store.units("40001").await.unwrap();
    let states: Vec<_> = units.iter().map(|row| row.unit.state()).collect();
    assert_eq!(states, ["active", "active"]);
    let topic = Shared::default();
    // As the version before wrote it: without units, without a mark.
    for device in store.devices().await.unwrap() {
        topic.lock().unwrap().commit(Entry::of(&device, None));
    }
    let token = store
        .take_lease("one", Duration::from_secs(30), Timestamp::now())
        .await;
    let registrar = registrar(&store, &topic, wall_clock(), token.unwrap().unwrap());
    assert_eq!(registrar.compare().await.unwrap(), Proof::Proven);
    assert_eq!(alarms(&store).await, [""; 0]);
    {
        let topic = topic.lock().unwrap();
        let devices = &topic.entries.devices;
        assert!(
            devices.values().all(|entry| entry.unit.is_some()),
            "{devices:?}"
        );
        let mark = topic.entries.mark.as_ref().expect("it is published");
        assert_eq!(*mark.store, *identity.id);
    }
    store.close().await;
    let again = Store::open(&place).await.unwrap();
    assert_eq!(again.identity().await.unwrap().id, identity.id);
    again.close().await;
}

/// Its registry shows a serial it does not know, and a device that an older version's command has terminated.
#[tokio::test]
async fn a_store_that_carries_over_is_not_trusted_blindly() {
    let folder = tempfile::tempdir().unwrap();
    let place = carried_over(folder.path()).await;
    let store = Store::open(&place).await.unwrap();
    let topic = Shared::default();
    let devices = store.devices().await.unwrap();
    for device in &devices {
        topic.lock().unwrap().commit(Entry::of(device, None));
    }
    let active = devices.iter().find(|device| device.state == State::Active);
    let mut ended = active.expect("one is active").clone();
    ended.state = State::Terminated;
    topic.lock().unwrap().commit(Entry::of(&ended, None));
    let token = store
        .take_lease("one", Duration::from_secs(30), Timestamp::now())
        .await;
    let first = registrar(&store, &topic, wall_clock(), token.unwrap().unwrap());
    assert_eq!(first.compare().await.unwrap(), Proof::Proven);
    let serial = ended.serial.clone().expect("it has one").to_string();
    let unit = &store.units_marked(&serial).await.unwrap()[0];
    assert_eq!(unit.unit.state(), "terminated", "its end was known");

    let mut unknown = ended.clone();
    (unknown.device_id, unknown.serial) =
        ("other".into(), Some(Serial::parse("C80000000009").unwrap()));
    topic.lock().unwrap().commit(Entry::of(&unknown, None));
    assert_eq!(first.compare().await.unwrap(), Proof::Unproven);
    let why = store.identity().await.unwrap().why;
    assert!(why.contains("C80000000009"), "{why}");
    store.close().await;
}

/// The wall clock was a day ahead and came back: listings, retries and the lease do not wait for that day.
#[tokio::test]
async fn a_clock_that_was_ahead_and_came_back_stops_nothing() {
    let scene = Scene::new();
    let store = Store::init(&scene.place).await.unwrap();
    let mut ahead = scene.hold(store.clone()).await;
    let day = 86_400;
    scene.world.pass(day);
    let first = scene.world.place("CTD-100", 1);
    ahead.work(&scene.world).await;
    assert!(ahead.serials(first).await[0].is_some());
    scene.world.pass(-day);
    let second = scene.world.place("CTD-100", 1);
    ahead.work(&scene.world).await;
    assert!(
        ahead.serials(second).await[0].is_some(),
        "the listing waits"
    );
    let events = store.events_after(0).await.unwrap();
    assert!(
        events.iter().any(|event| event.act == "clock"),
        "{events:#?}"
    );

    // Whoever held the lease by the clock that was ahead died.
    let now = Timestamp::now();
    let life = Duration::from_millis(200);
    let far = scene.world.now() + jiff::SignedDuration::from_hours(24);
    let stolen = store
        .take_lease("ahead", Duration::from_secs(30), far)
        .await;
    assert!(stolen.unwrap().is_some());
    assert_eq!(store.take_lease("next", life, now).await.unwrap(), None);
    let lease = Lease::take(&store, "next", life, &wall_clock()).await;
    assert_eq!(store.lease_holder().await.unwrap().name, "next");
    lease.leave().await;
    store.close().await;
}
