//! The whole journey on a real broker: devices talk from the first moment on, their orders go their way, everything goes wrong,
//! and at the end every active device was heard whole and in order, and nobody else at all.
//!
//! Three instances share one broker and one store: one does both parts, one only the pipeline, one only the orders. They are
//! killed at random moments. MyAdmin and the gateway refuse, break off, and lose answers. Some orders are cancelled, some change their
//! quantity, some devices are replaced or terminated. The store is lost, or put back from an older copy, and a person recovers it; the
//! registry's topic is deleted; a leader that sleeps beyond its lease wakes up and writes ([`disasters`]).
//!
//! `scripts/chaos --orders` runs this at length, by DIG_CHAOS_ORDERS, DIG_CHAOS_UNITS, DIG_CHAOS_KILLS, DIG_CHAOS_SEED and
//! DIG_CHAOS_REPORT.

mod disasters;
mod judgement;
mod office;
mod people;

use std::fs;
use std::path::PathBuf;

use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::orders::store::{Config, Store};
use dig_ingest::sim::faults::{Delay, Loss};
use dig_ingest::sim::market::{Script, Thrown, Turn};
use dig_ingest::sim::{CutAt, Operation, Rule};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime::Runtime;

use self::disasters::{Count, Event};
use super::chaos::number;
use super::held;
use crate::support::broker::Broker;
use crate::support::child::Running;
use crate::support::world::World;
use crate::support::{trade, wait_until};
use people::People;

const PARTITIONS: i32 = 6;
/// Messages of a partition in hand.
const WINDOW: u64 = 2_000;

/// How large it is.
#[derive(Debug, Clone, Copy)]
struct Size {
    orders: usize,
    units: usize,
    kills: usize,
    terminations: usize,
    /// Devices that are replaced; lines that are added, and that are taken out.
    changes: usize,
    /// How often each disaster happens; only in longer runs, a person's recovery takes its time.
    disasters: usize,
    seed: u64,
}

impl Size {
    /// Devices of the load: units of the orders, those that come later, and some on the shelf.
    fn devices(self) -> usize {
        self.units + 3 * self.changes + self.units / 10
    }
}

/// What an instance does.
const PARTS: [Option<&str>; 3] = [None, Some("pipeline"), Some("orders")];

/// The journey under way.
struct Journey<'b> {
    /// By the order of [`PARTS`]. Dropped before the world, in whose folder their logs are.
    running: Vec<Running>,
    world: World<'b>,
    store: Store,
    dice: StdRng,
    people: People,
    size: Size,
    kills: [u64; 3],
    disasters: Count,
    /// Copies of the store, the newest last, and how many were made.
    copies: Vec<PathBuf>,
    copied: u64,
    /// Records that may have arrived twice.
    bound: u64,
    // Dropped last: the store's connections live on it.
    runtime: Runtime,
}

/// The next event: which, whom a kill hits, and when.
#[derive(Debug)]
struct Next {
    event: Event,
    place: usize,
    /// Not before so much of the journey is done.
    from: f64,
    /// And so many more requests have reached MyAdmin.
    calls: u64,
    /// And so many more looks were taken.
    looks: u64,
}

impl<'b> Journey<'b> {
    fn open(broker: &'b Broker, size: Size) -> Self {
        let mut world = trade::open(broker, PARTITIONS);
        world.set("memory.window_messages", &WINDOW.to_string());
        world.set("orders.compare_every_s", "2");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the store");
        let store = runtime
            .block_on(Store::init(&Config {
                file: world.path("orders.db"),
                ..Config::default()
            }))
            .expect("a store");
        Self {
            dice: StdRng::seed_from_u64(size.seed),
            people: People::new(size),
            running: Vec::new(),
            kills: [0; 3],
            disasters: Count::default(),
            copies: Vec::new(),
            copied: 0,
            bound: 0,
            world,
            store,
            size,
            runtime,
        }
    }

    /// The instance with the pipeline alone is a static member: its successor has the partitions at once.
    fn start(&mut self, place: usize) -> Running {
        let name = "\"member-1\"";
        let own: &[(&str, &str)] = match place {
            1 => &[("kafka.instance_id", name)],
            _ => &[],
        };
        self.world.start_only(PARTS[place], own)
    }

    fn units(&self) -> Vec<UnitRow> {
        let wholes = self.runtime.block_on(people::wholes(&self.store));
        wholes.into_iter().flat_map(|whole| whole.units).collect()
    }

    /// How much of the journey is done, from 0 to 1, as far as every unit has ever come.
    fn done(&self) -> f64 {
        let steps: usize = self.people.paper.values().map(|paper| paper.furthest).sum();
        steps as f64 / (self.size.units * LAST) as f64
    }

    fn calls(&self) -> u64 {
        let counters = self.world.gateway.counters();
        counters
            .requests
            .iter()
            .filter(|(asked, _)| {
                Operation::MyAdmin.covers(**asked) || Operation::Partner.covers(**asked)
            })
            .map(|(_, count)| count)
            .sum()
    }

    fn plan(&mut self) -> Vec<Next> {
        let kills = self.size.kills;
        let mut plan: Vec<Next> = (0..kills)
            .map(|at| Next {
                event: Event::Kill,
                place: at % PARTS.len(),
                from: 0.95 * (at as f64 + self.dice.random::<f64>()) / kills as f64,
                calls: self.dice.random_range(0..12),
                looks: self.dice.random_range(0..10),
            })
            .collect();
        for event in Event::DISASTERS {
            for at in 0..self.size.disasters {
                plan.push(Next {
                    event,
                    place: 0,
                    from: 0.1
                        + 0.8 * (at as f64 + self.dice.random::<f64>())
                            / self.size.disasters as f64,
                    calls: self.dice.random_range(0..12),
                    looks: self.dice.random_range(0..10),
                });
            }
        }
        plan.sort_by(|a, b| a.from.total_cmp(&b.from));
        plan
    }

    /// SIGKILL for an instance; what it may repeat counts.
    fn fell(&mut self, place: usize) {
        self.kills[place] += 1;
        if place < 2 {
            let lag = self.world.lag().unsigned_abs();
            self.running[place].kill();
            // Read again may be what was not committed, and released again what no mark tells of.
            self.bound += self.world.arrived() + lag;
        } else {
            self.running[place].kill();
        }
    }

    fn kill(&mut self, place: usize) {
        self.fell(place);
        self.running[place] = self.start(place);
        if self.dice.random_bool(0.3) {
            self.world.gateway.expire_myadmin_sessions();
        }
        if self.dice.random_bool(0.3) {
            self.world.gateway.revoke_all_tokens();
        }
    }

    /// The market and the gateway go wrong in every way there is a rule for.
    fn disturb(&self) {
        let seed = self.size.seed;
        let gateway = &self.world.gateway;
        let at = |rule: Rule, rate: f64, operation| Rule {
            rate: Some(rate),
            seed,
            ..rule.on(operation)
        };
        let slow = Rule::delay(Delay::UniformMs(0, 30));
        for rule in [
            at(slow, 0.5, Operation::Provision),
            at(Rule::status(503), 0.02, Operation::MyAdmin),
            at(Rule::cut(CutAt::BeforeBody), 0.01, Operation::MyAdmin),
            at(Rule::status(500), 0.02, Operation::Partner),
            at(Rule::lose_answer(Loss::Cut), 0.02, Operation::Partner),
            at(Rule::status(503), 0.03, Operation::Records),
            at(Rule::cut(CutAt::DuringBody), 0.02, Operation::Records),
            at(Rule::lose_answer(Loss::Cut), 0.02, Operation::Records),
        ] {
            gateway.faults().push(rule);
        }
        let thrown = || Thrown::new("GenericRequestError", "try again");
        gateway.market(|market, _| {
            for (turn, rate) in [
                (Turn::LoseAnswer(Loss::Cut), 0.02),
                (Turn::LoseAnswer(Loss::Silence), 0.005),
                (Turn::Lose(Loss::Cut), 0.01),
                (Turn::MakeThenThrow(thrown()), 0.005),
                (Turn::Throw(thrown()), 0.01),
                (Turn::Decline("OutOfStock".to_owned()), 0.01),
                (Turn::Nothing, 0.005),
            ] {
                let script = Script::once(turn).at_rate(rate);
                market.script(script).expect("a probability");
            }
        });
    }

    fn calm(&self) {
        self.world.gateway.faults().clear();
        self.world
            .gateway
            .market(|market, _| market.clear_scripts());
    }

    /// One look at everything, and what people do about it.
    fn step(&mut self) -> Vec<UnitRow> {
        for (running, part) in self.running.iter_mut().zip(PARTS) {
            assert!(running.alive(), "the instance of {part:?} ended on its own");
        }
        let act = self.people.act(&self.world, &self.store, &mut self.dice);
        self.runtime.block_on(act);
        if self.copies.is_empty() || self.dice.random_bool(0.02) {
            self.copy();
        }
        self.units()
    }

    /// Steps until a condition holds; gives up when no unit has changed its state for a long time.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self, &[UnitRow]) -> bool) {
        let (mut over, mut before) = (false, None);
        while !over {
            wait_until(what, || {
                let units = self.step();
                over = condition(self, &units);
                let steps: usize = units.iter().map(|row| rank(&row.unit)).sum();
                let changed = before != Some(steps);
                before = Some(steps);
                over || changed
            });
        }
    }

    /// Steps until nothing is left behind; what is, is told as it becomes less.
    fn until_ended(&mut self) {
        let mut told = Vec::new();
        self.until("every journey has ended", |journey, _| {
            let left = journey.people.left_behind(&journey.world, &journey.store);
            let left = journey.runtime.block_on(left);
            if left != told {
                let some: Vec<&String> = left.iter().take(6).collect();
                eprintln!("left behind: {} {some:#?}", left.len());
                told.clone_from(&left);
            }
            left.is_empty()
        });
    }
}

/// Steps of a journey: how far a unit has come.
const LAST: usize = 8;

fn rank(unit: &Unit) -> usize {
    match unit.state() {
        "ordered" | "parked" => 1,
        "provisioned" => 2,
        "assigned" => 3,
        "shipped" => 4,
        "reported" => 5,
        "confirmed" => 6,
        "in-database" => 7,
        _ => LAST,
    }
}

fn journey(size: Size) {
    eprintln!("{size:?}");
    let mut journey = Journey::open(Broker::shared(), size);
    journey.disturb();
    let fleet = held::fleet(&journey.world);
    let (devices, rate) = (size.devices().to_string(), size.units.max(200).to_string());
    let path = fleet.display().to_string();
    // Ended by a signal, long before it has made so many.
    let mut load = journey.world.load(
        10_000_000,
        &[
            "--by",
            "device-id",
            "--devices",
            &devices,
            "--rate",
            &rate,
            "--registry",
            &path,
        ],
    );
    journey.people.find_devices(&fleet);
    for place in 0..PARTS.len() {
        let running = journey.start(place);
        journey.running.push(running);
    }
    for (at, next) in journey.plan().into_iter().enumerate() {
        let mut from = None;
        let mut looks = 0;
        journey.until(&format!("event {at}: {next:?}"), |journey, _| {
            if journey.done() < next.from {
                return false;
            }
            looks += 1;
            let first = *from.get_or_insert_with(|| journey.calls());
            looks >= next.looks && journey.calls() >= first + next.calls
        });
        match next.event {
            Event::Kill => journey.kill(next.place),
            disaster => journey.happen(disaster),
        }
    }
    journey.until("every termination and change is asked for", |journey, _| {
        journey.people.has_asked_for_all()
    });
    journey.calm();
    journey.until_ended();
    // The Partner's next sheet tells a store that was lost what the last one told the store before.
    journey.people.want_another_sheet();
    journey.until("another sheet is written", |journey, _| {
        journey.people.has_asked_for_all()
    });
    journey.until_ended();
    // Everybody knows by now who may not talk any more: what comes from here on must not be heard.
    let silent = journey.silent();
    let goal = journey.world.accepted() + 2 * size.units as u64;
    journey.until("the active ones are heard on", |journey, _| {
        journey.world.accepted() >= goal
    });
    load.signal("TERM");
    load.succeeded();
    let report = journey.judge(&silent);
    eprintln!("{report}");
    if let Ok(path) = std::env::var("DIG_CHAOS_REPORT") {
        fs::write(path, format!("{report}\n")).expect("the report is written");
    }
}

#[test]
fn every_active_device_is_heard_whole_and_nobody_else() {
    let units = number("DIG_CHAOS_UNITS", 150) as usize;
    journey(Size {
        orders: number("DIG_CHAOS_ORDERS", 30) as usize,
        units,
        kills: number("DIG_CHAOS_KILLS", 9) as usize,
        terminations: units / 15,
        changes: units.div_ceil(50),
        disasters: (number("DIG_CHAOS_KILLS", 9) / 15) as usize,
        seed: number("DIG_CHAOS_SEED", 1),
    });
}
