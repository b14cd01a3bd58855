//! Isolation against a model of the gateway: every failing device is found, with few requests, and nobody else waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::http::pacing::blame::Evidence;
use crate::http::pacing::circuit::{Circuit, Pass, RequestResult, State, most_probes};
use crate::http::pacing::{self};

const PAUSES: Pauses = Pauses {
    retry: Duration::from_millis(250),
    retry_max: Duration::from_secs(30),
    quarantine_after: Duration::from_secs(60),
    probe: Duration::from_secs(5),
    probe_max: Duration::from_secs(60),
};

/// How long a request takes.
const REQUEST: Duration = Duration::from_millis(50);

fn name(serial: u32) -> Name {
    Name {
        hash: u64::from(serial),
        text: serial.to_string().into_bytes().into(),
    }
}

fn number(name: &Name) -> u32 {
    std::str::from_utf8(&name.text).unwrap().parse().unwrap()
}

/// A partition with `records` of each serial to send, one request at a time, a gateway that fails on some serials, and the
/// circuit between them. Time passes by waiting, and with every request.
struct Model {
    isolation: Isolation,
    circuit: Circuit,
    evidence: Evidence,
    config: pacing::Config,
    dice: StdRng,
    now: Instant,
    /// Records left of each serial that was never in a failure, or was let go.
    fresh: BTreeMap<u32, u32>,
    /// Records left of each serial that was set aside.
    aside: BTreeMap<u32, u32>,
    accepted: u64,
    /// Serials of which something was taken.
    taken: BTreeSet<u32>,
    failures: u64,
    requests: u64,
}

impl Model {
    fn new(seed: u64, serials: u32, records: u32) -> Self {
        Self {
            isolation: Isolation::new(PAUSES),
            circuit: Circuit::default(),
            evidence: Evidence::default(),
            config: pacing::Config::default(),
            dice: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            fresh: (0..serials).map(|serial| (serial, records)).collect(),
            aside: BTreeMap::new(),
            accepted: 0,
            taken: BTreeSet::new(),
            failures: 0,
            requests: 0,
        }
    }

    /// One request, if one may go; the clock moves to when one may.
    fn step(&mut self, fails: &mut dyn FnMut(&mut StdRng, u32) -> bool) {
        let wait = self.circuit.waits_until().filter(|until| *until > self.now);
        if let Some(until) = wait {
            self.now = until;
        }
        let fresh = !self.fresh.is_empty();
        // New records and those that failed wait for the same slots: while only probes go, they take turns.
        let turn = self.circuit.state() != State::Closed && self.requests.is_multiple_of(2);
        let (errand, names, past, most) =
            if fresh && (turn || self.isolation.due().is_none_or(|due| due > self.now)) {
                let names: Vec<Name> = self.fresh.keys().copied().map(name).collect();
                (Errand::Fresh, names, Past::default(), u32::MAX)
            } else {
                let Some(due) = self.isolation.due() else {
                    return;
                };
                self.now = self.now.max(due);
                if let Some(wait) = self.evidence.wait(self.now) {
                    self.now += wait;
                }
                match self.isolation.next(self.now).expect("it is due") {
                    Next::Set(mut set) => {
                        let names = std::mem::take(&mut set.names);
                        (Errand::Set(set.clone()), names, set.past, u32::MAX)
                    }
                    Next::Device(name, past, window) => {
                        (Errand::Device(name.clone()), vec![name], past, window)
                    }
                }
            };
        let pass = self.circuit.ask(&self.config, self.now);
        let part = match pass {
            Pass::Go => names.len(),
            Pass::Probe => names
                .len()
                .min(self.circuit.probe_records(&self.config) as usize),
            Pass::Wait(_) | Pass::Full => panic!("one request at a time: {pass:?}"),
        };
        let era = self.circuit.era();
        self.requests += 1;
        self.now += REQUEST;
        let (sent, rest) = names.split_at(part);
        let failed = sent.iter().any(|name| fails(&mut self.dice, number(name)));
        let was_closed = self.circuit.state() == State::Closed;
        let blamed = failed
            && self
                .evidence
                .blames_records(&self.config, self.now, past.history, was_closed);
        let signal = match (failed, blamed) {
            (false, _) => RequestResult::Good,
            (true, true) => RequestResult::Neutral,
            (true, false) => RequestResult::Failed {
                overload: true,
                retry_after: None,
            },
        };
        if !failed {
            self.evidence.succeeded(past.history);
        }
        let closed = self
            .circuit
            .ended(&self.config, self.now, era, signal, &mut self.dice);
        if closed {
            self.evidence.restored();
        }
        if failed {
            let works = self.circuit.state() == State::Closed && !self.evidence.unclear();
            // The others are those of a gateway that is away.
            self.failures += u64::from(blamed || works);
            let judged = Failed {
                from: 0,
                until: part as u32,
                blame: match (blamed, works) {
                    (true, _) => Blame::Records,
                    (false, true) => Blame::Unknown,
                    (false, false) => Blame::Gateway,
                },
                seen: self.evidence.successes(),
                asked_to_wait: false,
                retry_after: None,
                ambiguous: true,
                silent: 0,
                status: 500,
                text: String::new(),
            };
            let back = if errand == Errand::Fresh {
                sent
            } else {
                &names
            };
            for name in back {
                if let Some(records) = self.fresh.remove(&number(name)) {
                    self.aside.insert(number(name), records);
                }
            }
            let rest = if errand == Errand::Fresh {
                Vec::new()
            } else {
                rest.to_vec()
            };
            self.isolation.failed(
                errand,
                sent.to_vec(),
                rest,
                &judged,
                self.now,
                &mut self.dice,
            );
            return;
        }
        for name in sent {
            let serial = number(name);
            let place = match self.fresh.contains_key(&serial) {
                true => &mut self.fresh,
                false => &mut self.aside,
            };
            let left = place.remove(&serial).expect("it was sent");
            let taken = left.min(most);
            self.accepted += u64::from(taken);
            self.taken.insert(serial);
            let left = left - taken;
            let alone = self.isolation.passed(&errand, left > 0);
            if left > 0 {
                let place = if alone {
                    &mut self.aside
                } else {
                    &mut self.fresh
                };
                place.insert(serial, left);
            }
        }
        match errand {
            // A part was taken: the rest goes on by itself.
            Errand::Set(set) => self.isolation.wait_on(set, rest.to_vec()),
            Errand::Fresh | Errand::Device(_) => {}
        }
    }

    fn isolated(&self) -> BTreeSet<u32> {
        let devices = self.isolation.devices.keys();
        devices
            .map(|text| std::str::from_utf8(text).unwrap().parse().unwrap())
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The bound of the module's documentation: beside what opens a circuit and probes it, k failing devices of n cost at most
    /// [`most_failures`] failing requests until something of all others is taken and each of the k is known.
    #[test]
    fn failing_devices_are_found_with_few_requests(seed: u64, serials in 2u32..700, share in 0.0f64..0.5) {
        let mut dice = StdRng::seed_from_u64(seed);
        let failing: BTreeSet<u32> = (0..serials).filter(|_| dice.random_bool(share)).collect();
        prop_assume!((failing.len() as u32) < serials);
        let mut model = Model::new(seed, serials, 3);
        let others: Vec<u32> = (0..serials).filter(|serial| !failing.contains(serial)).collect();
        let mut steps = 0;
        while model.taken.len() < others.len() || model.isolated() != failing {
            model.step(&mut |_, serial| failing.contains(&serial));
            steps += 1;
            prop_assert!(steps < 20_000, "{} of {}, {:?}", model.taken.len(), others.len(), model.isolated());
            // Devices go on talking.
            let other = others[model.dice.random_range(0..others.len())];
            if model.fresh.is_empty() && !model.aside.contains_key(&other) {
                model.fresh.insert(other, 1);
            }
        }
        let retries: u64 = model.isolation.devices.values().map(|device| u64::from(device.failures)).sum();
        let most = most_failures(u64::from(serials), failing.len() as u64) + retries;
        prop_assert!(model.failures <= most, "{} failing requests, at most {most}: {} of {serials}", model.failures, failing.len());
    }

    /// An outage costs no more than it would without isolation, whatever was known before it, and nobody is taken for failing.
    #[test]
    fn an_outage_costs_its_probes_and_isolates_nobody(seed: u64, serials in 1u32..400, minutes in 1u64..60) {
        let mut model = Model::new(seed, serials, 1);
        let (began, outage) = (model.now, Duration::from_secs(minutes * 60));
        while model.now < began + outage {
            model.step(&mut |_, _| true);
        }
        let most = u64::from(model.config.failures_to_open) + most_probes(&model.config, model.now - began);
        prop_assert!(model.requests <= most, "{} requests, at most {most}", model.requests);
        prop_assert!(model.isolated().is_empty());
        let during = model.requests;
        while model.accepted < u64::from(serials) {
            model.step(&mut |_, _| false);
            prop_assert!(model.requests < during + 64, "the outage left too many small requests behind");
        }
    }

    /// A gateway that fails at random gets everything in the end, and its requests stay few (B-a).
    #[test]
    fn random_failures_isolate_nobody_for_long(seed: u64, serials in 1u32..300, rate in 0.0f64..0.8) {
        let mut model = Model::new(seed, serials, 2);
        let mut first = true;
        let mut requests = 0;
        while model.accepted < u64::from(serials) * 2 {
            // Per request, not per record.
            let before = model.requests;
            model.step(&mut |dice, _| std::mem::take(&mut first) && dice.random_bool(rate));
            first = true;
            requests += model.requests - before;
            prop_assert!(requests < 20_000);
        }
    }

    /// A serial is in one place only (S1, S2).
    #[test]
    fn a_serial_is_in_one_place(seed: u64, serials in 2u32..100, steps in 1usize..300) {
        let mut model = Model::new(seed, serials, 5);
        for _ in 0..steps {
            model.step(&mut |dice, serial| serial % 7 == 0 && dice.random_bool(0.8) || dice.random_bool(0.05));
            let mut seen = BTreeSet::new();
            let sets = model.isolation.sets.iter().flat_map(|set| &set.names).map(number);
            let waiting = model.isolation.devices.iter().filter(|(_, device)| device.waiting);
            let devices = waiting.map(|(text, _)| std::str::from_utf8(text).unwrap().parse().unwrap());
            for serial in sets.chain(devices).chain(model.fresh.keys().copied()) {
                prop_assert!(seen.insert(serial), "{serial} is in two places");
            }
            let left: BTreeSet<u32> = model.fresh.keys().chain(model.aside.keys()).copied().collect();
            prop_assert_eq!(&seen, &left, "somebody was forgotten");
        }
    }
}

/// A device is quarantined after its time, probed with growing pauses, and let go after a row of successes.
#[test]
fn a_device_that_goes_on_failing_is_quarantined_and_probed() {
    let mut dice = StdRng::seed_from_u64(1);
    let start = Instant::now();
    let mut isolation = Isolation::new(PAUSES);
    let failed = |blame| Failed {
        from: 0,
        until: 1,
        blame,
        seen: 1,
        asked_to_wait: false,
        retry_after: None,
        ambiguous: false,
        silent: 0,
        status: 500,
        text: "no".to_owned(),
    };
    let blamed = failed(Blame::Records);
    isolation.isolate(name(1), &blamed, start, &mut dice);
    let mut now = start;
    let mut tries = 0;
    while !isolation.quarantine(false, now) {
        now = isolation.due().expect("it waits");
        let next = isolation.next(now);
        assert!(matches!(next, Some(Next::Device(_, _, 1))));
        let errand = Errand::Device(name(1));
        isolation.failed(errand, vec![name(1)], Vec::new(), &blamed, now, &mut dice);
        tries += 1;
    }
    let took = now - start;
    assert!(took >= PAUSES.quarantine_after, "{took:?}");
    assert!(tries < 16, "{tries} tries");
    isolation.withdrawn(b"1");
    assert_eq!((isolation.due(), isolation.part(b"1")), (None, Some(0)));
    assert!(isolation.holds(b"1"));
    let mut probes = Vec::new();
    for second in 0..1_000 {
        let now = now + Duration::from_secs(second);
        if isolation.begin_probes(now) {
            assert_eq!(isolation.part(b"1"), Some(1), "one record at first");
            probes.push(second);
            isolation.queued(b"1");
            assert!(isolation.next(now).is_some());
            // An outage between says nothing.
            let blame = if second % 2 == 0 {
                Blame::Records
            } else {
                Blame::Gateway
            };
            let errand = Errand::Device(name(1));
            isolation.failed(
                errand,
                vec![name(1)],
                Vec::new(),
                &failed(blame),
                now,
                &mut dice,
            );
            isolation.withdrawn(b"1");
        }
    }
    assert!(
        probes.len() >= 1_000 / 61 && probes.len() < 60,
        "{probes:?}"
    );
    let now = now + Duration::from_secs(2_000);
    assert!(isolation.begin_probes(now));
    let mut taken = 0;
    while let Some(part @ 1..) = isolation.part(b"1") {
        isolation.queued(b"1");
        assert!(isolation.next(now).is_some());
        taken += part;
        isolation.passed(&Errand::Device(name(1)), false);
    }
    assert!(taken >= CLEAR, "{taken}");
    assert!(isolation.is_empty());
    let found = isolation.take_found();
    assert!(matches!(found[0], Found::Isolated(..)));
    assert!(matches!(found[1], Found::Quarantined(..)));
    assert!(matches!(found[2], Found::Cleared(_)));
}

/// Whoever asks to wait may mean everybody: the first time the same records go again as they were.
#[test]
fn who_asks_to_wait_is_believed_once() {
    let mut dice = StdRng::seed_from_u64(1);
    let now = Instant::now();
    let mut isolation = Isolation::new(PAUSES);
    let failed = Failed {
        from: 0,
        until: 4,
        blame: Blame::Unknown,
        seen: 0,
        asked_to_wait: true,
        retry_after: None,
        ambiguous: false,
        silent: 0,
        status: 503,
        text: String::new(),
    };
    let four: Vec<Name> = (0..4).map(name).collect();
    isolation.failed(
        Errand::Fresh,
        four.clone(),
        Vec::new(),
        &failed,
        now,
        &mut dice,
    );
    let due = isolation.due().expect("it waits");
    let Some(Next::Set(mut set)) = isolation.next(due) else {
        panic!("a set")
    };
    assert_eq!(set.names, four);
    let names = std::mem::take(&mut set.names);
    isolation.failed(Errand::Set(set), names, Vec::new(), &failed, due, &mut dice);
    let sizes: Vec<usize> = isolation.sets.iter().map(|set| set.names.len()).collect();
    assert_eq!(sizes, [2, 2]);
}
