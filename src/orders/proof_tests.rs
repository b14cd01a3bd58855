use super::*;
use crate::registry::entries::Entry as Told;
use crate::registry::mark::Mark;

fn registration(id: &str, serial: &str, state: State) -> Registration {
    Registration {
        device_id: id.into(),
        serial: Some(Serial::parse(serial).expect("a serial")),
        state,
        order: Some("77".into()),
        since: None,
    }
}

fn own(devices: &[Registration]) -> Own {
    Own {
        identity: Identity {
            id: "store-a".to_owned(),
            origin: Origin::Made,
            generation: 7,
            proof: Proof::Unchecked,
            why: String::new(),
            proof_at: jiff::Timestamp::UNIX_EPOCH,
            made_at: jiff::Timestamp::UNIX_EPOCH,
        },
        nonces: ["seven".to_owned()].into(),
        devices: devices
            .iter()
            .map(|device| (device.clone(), Some("77.1".into())))
            .collect(),
        serials: HashSet::new(),
        waiting: HashSet::new(),
    }
}

fn told(registration: &Registration) -> Told {
    let Entry::Put(device, _) = Entry::of(registration, None) else {
        panic!("it has a serial");
    };
    Told {
        device,
        unit: Some("77.1".into()),
    }
}

fn entries(devices: &[Registration], mark: Option<(&str, i64, &str)>) -> Entries {
    Entries {
        devices: devices
            .iter()
            .map(|device| (device.device_id.clone(), told(device)))
            .collect(),
        mark: mark.map(|(store, generation, nonce)| Mark {
            store: store.into(),
            generation,
            nonce: nonce.into(),
            open: Vec::new(),
        }),
    }
}

#[test]
fn a_store_is_proven_only_by_a_mark_and_serials_that_it_knows() {
    let device = registration("a", "CX0000000001", State::Active);
    let known = std::slice::from_ref(&device);
    let cases = [
        (
            "nothing was ever published",
            own(&[]),
            entries(&[], None),
            None,
        ),
        (
            "its own newest publication",
            own(known),
            entries(known, Some(("store-a", 7, "seven"))),
            None,
        ),
        (
            "a later publication of it",
            own(known),
            entries(known, Some(("store-a", 9, "nine"))),
            Some("generation 9"),
        ),
        (
            "the same generation of a copy beside it",
            own(known),
            entries(known, Some(("store-a", 7, "other"))),
            Some("a copy beside another one"),
        ),
        (
            "another store",
            own(known),
            entries(known, Some(("store-b", 1, "one"))),
            Some("last published by store store-b"),
        ),
        (
            "a serial it does not know",
            own(&[]),
            entries(known, None),
            Some("CX0000000001 (order 77)"),
        ),
    ];
    for (what, own, entries, doubt) in cases {
        let found = judge(&own, &entries).map(|doubt| doubt.to_string());
        match (&found, doubt) {
            (None, None) => {}
            (Some(found), Some(doubt)) => assert!(found.contains(doubt), "{what}: {found}"),
            _ => panic!("{what}: {found:?}"),
        }
    }
    let mut fleet = entries(known, None);
    for entry in fleet.devices.values_mut() {
        entry.device.order = None;
    }
    assert_eq!(judge(&own(&[]), &fleet), None, "a fleet without orders");
}

#[test]
fn an_unproven_store_stays_so_whatever_the_registry_says_later() {
    let mut own = own(&[]);
    own.identity.proof = Proof::Unproven;
    own.identity.why = "it is an older copy".to_owned();
    let doubt = judge(&own, &Entries::default()).expect("nobody accepted");
    assert_eq!(doubt.to_string(), "it is an older copy");
}

#[test]
fn what_differs_is_written_again_and_what_waits_is_left_to_the_outbox() {
    let active = registration("a", "CX0000000001", State::Active);
    let ended = registration("b", "CX0000000002", State::Terminated);
    let gone = registration("c", "CX0000000003", State::Active);
    let mut own = own(&[active.clone(), ended.clone(), gone.clone()]);
    let by_hand = registration("b", "CX0000000002", State::Active);
    let claims = registration("x", "CX0000000001", State::Active);
    let topic = entries(&[active.clone(), by_hand, claims], None);
    let found = differences(&own, &topic);
    let ids: Vec<&str> = found.differing.iter().map(|id| &**id).collect();
    assert_eq!(ids, ["b", "c", "x"]);
    assert_eq!(found.write[2], Entry::Forget("x".into()));
    assert_eq!(
        terminations(&own, &topic),
        [Entry::of(&ended, Some("77.1".into()))]
    );
    own.waiting = ["b".to_owned(), "c".to_owned(), "x".to_owned()].into();
    assert_eq!(differences(&own, &topic), Differences::default());
}

/// Entries of an older version have no unit: they are completed, and nobody is alarmed.
#[test]
fn an_entry_without_its_unit_is_completed_in_silence() {
    let active = registration("a", "CX0000000001", State::Active);
    let mut topic = entries(std::slice::from_ref(&active), None);
    topic.devices.get_mut("a").expect("it is there").unit = None;
    let found = differences(&own(std::slice::from_ref(&active)), &topic);
    assert_eq!(found.write, [Entry::of(&active, Some("77.1".into()))]);
    assert!(found.differing.is_empty());
}

#[test]
fn only_before_its_first_publication_a_store_learns_ends_from_the_registry() {
    let active = registration("a", "CX0000000001", State::Active);
    let ended = registration("a", "CX0000000001", State::Terminated);
    let mut own = own(&[active]);
    let topic = entries(&[ended], None);
    assert!(ended_before(&own, &topic).is_empty(), "it was made");
    own.identity.origin = Origin::CarriedOver;
    assert_eq!(ended_before(&own, &topic).len(), 1);
    let published = Entries {
        mark: entries(&[], Some(("store-a", 7, "seven"))).mark,
        ..topic
    };
    assert!(ended_before(&own, &published).is_empty());
}
