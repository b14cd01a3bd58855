//! Where the job stands: plain types, and the pure judgement of whether it lives and is ready.
//!
//! L1: a partition that has records in hand, settles none for longer than the setting and has not declared why, is
//! stalled, and a stalled partition makes the job not live. L2: a declared pause (the gateway is away, dead letters
//! cannot be written) is not a stall: a restart would not help. L3: the consumer thread not polling for as long is
//! a stall too. L4: a partition that was idle is given the whole time anew from its first record.
//!
//! Does no I/O and reads no clock: time is an argument.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::journey::Journey;

/// Why a partition does not settle records although nothing is broken on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Pause {
    /// It is not paused.
    #[default]
    None,
    /// The gateway does not answer, or asked to wait.
    Gateway,
    /// The gateway refuses us in a way only a person can mend (credentials, unexpected answers).
    Alarm,
    /// Dead letters cannot be written.
    DeadLetter,
    /// Held records cannot be written or read.
    Held,
    /// The partition is being given back or the job is ending.
    Draining,
    /// The orders store refuses.
    Store,
}

impl Pause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Gateway,
        Self::Alarm,
        Self::DeadLetter,
        Self::Held,
        Self::Draining,
        Self::Store,
    ];

    /// The pause of that number; an unknown number is no pause.
    pub fn of_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }

    /// What an operator is told.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::None => "not paused",
            Self::Gateway => "the gateway does not answer or asked to wait",
            Self::Alarm => "the gateway refuses every request; its answer is in the log",
            Self::DeadLetter => {
                "dead letters cannot be written; check the broker and the dead-letter topic"
            }
            Self::Held => {
                "held records cannot be written or read; check the broker and the held topic"
            }
            Self::Draining => "the partition is being given back",
            Self::Store => "the orders store refuses; its answer is in /status",
        }
    }
}

/// Running totals of one partition since it was assigned. O2: read = accepted + dead-lettered + held + discarded + in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    pub read: u64,
    pub accepted: u64,
    pub dead_lettered: u64,
    pub held: u64,
    pub discarded: u64,
}

impl Totals {
    /// Records that have met their end.
    pub fn settled(&self) -> u64 {
        self.accepted + self.dead_lettered + self.held + self.discarded
    }

    /// Records read and not settled yet.
    pub fn in_hand(&self) -> u64 {
        self.read.saturating_sub(self.settled())
    }
}

/// What waits in a partition's held topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Waiting {
    pub records: u64,
    pub bytes: u64,
    /// Devices whose records are being released now.
    pub releasing: u64,
}

/// One partition as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub totals: Totals,
    pub waiting: Waiting,
    /// The offset below which everything is settled; `None` before the first message.
    pub watermark: Option<i64>,
    pub pause: Pause,
    /// When a record was last settled, or the first one came to an idle partition.
    pub progress: Instant,
}

/// The whole job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// This process carries records; what follows of the gateway, the group and the registry counts only then.
    pub streams: bool,
    /// The order journey, if this process does it.
    pub journey: Option<Journey>,
    /// The group has assigned this instance its partitions, be it none.
    pub assigned: bool,
    /// A login at the gateway has succeeded.
    pub logged_in: bool,
    /// The device registry has been read to its end, or is not used.
    pub registry_read: bool,
    /// When the consumer thread last polled; `None` before the first time.
    pub polled: Option<Instant>,
    pub partitions: Vec<Partition>,
}

/// The answer of `/livez`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    pub live: bool,
    /// What stands still, each with the reason in words.
    pub stalled: Vec<Stalled>,
    /// Pauses that were declared.
    pub paused: Vec<Paused>,
}

/// Something that should move and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stalled {
    /// `topic/partition`, or `consumer`.
    pub part: String,
    pub in_hand: u64,
    pub seconds: u64,
    pub why: String,
}

/// A partition that waits and says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// `topic/partition`.
    pub part: String,
    pub pause: Pause,
    pub why: &'static str,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    pub ready: bool,
    /// What is still missing.
    pub missing: Vec<&'static str>,
}

/// Whether every part of the job that has work makes progress (L1 to L4, J2).
pub fn live(snapshot: &Snapshot, now: Instant, stall_after: Duration) -> Live {
    let (mut stalled, mut paused) = (Vec::new(), Vec::new());
    if let Some(polled) = snapshot.polled {
        let since = now.saturating_duration_since(polled);
        if since > stall_after {
            let why = "the consumer thread does not poll; the group will take its partitions away"
                .to_owned();
            stalled.push(Stalled {
                part: "consumer".to_owned(),
                in_hand: 0,
                seconds: since.as_secs(),
                why,
            });
        }
    }
    for partition in &snapshot.partitions {
        let part = format!("{}/{}", partition.topic, partition.partition);
        let in_hand = partition.totals.in_hand();
        let since = now.saturating_duration_since(partition.progress);
        if partition.pause != Pause::None {
            paused.push(Paused {
                part,
                pause: partition.pause,
                why: partition.pause.meaning(),
            });
        } else if in_hand > 0 && since > stall_after {
            let at = partition.watermark.map_or_else(
                || "its start".to_owned(),
                |offset| format!("offset {offset}"),
            );
            let why =
                format!("records are in hand and none was settled; the watermark stands at {at}");
            stalled.push(Stalled {
                part,
                in_hand,
                seconds: since.as_secs(),
                why,
            });
        }
    }
    if let Some(journey) = &snapshot.journey {
        let part = "orders store".to_owned();
        if let Some(seconds) = journey.silent(now, stall_after) {
            stalled.push(Stalled {
                part,
                in_hand: 0,
                seconds,
                why: "the orders store does not answer".to_owned(),
            });
        } else if journey.trouble.is_some() {
            paused.push(Paused {
                part,
                pause: Pause::Store,
                why: Pause::Store.meaning(),
            });
        }
    }
    Live {
        live: stalled.is_empty(),
        stalled,
        paused,
    }
}

/// Whether what runs in this process can do its work (J1).
pub fn ready(snapshot: &Snapshot) -> Ready {
    let without = !snapshot.streams;
    let journey = snapshot.journey.as_ref();
    let parts = [
        (
            journey.is_none_or(|journey| journey.figures.is_some()),
            "the orders store has not answered yet",
        ),
        (
            without || snapshot.assigned,
            "the consumer group has not assigned partitions yet",
        ),
        (
            without || snapshot.logged_in,
            "no login at the gateway has succeeded yet",
        ),
        (
            without || snapshot.registry_read,
            "the device registry has not been read to its end yet",
        ),
    ];
    let missing: Vec<_> = parts
        .into_iter()
        .filter(|(done, _)| !done)
        .map(|(_, what)| what)
        .collect();
    Ready {
        ready: missing.is_empty(),
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn snapshot(start: Instant, totals: Totals, pause: Pause) -> Snapshot {
        let partition = Partition {
            topic: "telemetry".to_owned(),
            partition: 3,
            totals,
            waiting: Waiting::default(),
            watermark: Some(41),
            pause,
            progress: start,
        };
        Snapshot {
            streams: true,
            journey: None,
            assigned: true,
            logged_in: true,
            registry_read: true,
            polled: None,
            partitions: vec![partition],
        }
    }

    const BUSY: Totals = Totals {
        read: 10,
        accepted: 4,
        dead_lettered: 1,
        held: 1,
        discarded: 0,
    };
    const IDLE: Totals = Totals {
        read: 6,
        accepted: 4,
        dead_lettered: 1,
        held: 1,
        discarded: 0,
    };

    #[test]
    fn a_partition_with_work_and_no_progress_is_stalled_only_after_the_limit() {
        let start = Instant::now();
        let busy = snapshot(start, BUSY, Pause::None);
        assert!(live(&busy, start + LIMIT, LIMIT).live);
        let verdict = live(&busy, start + LIMIT + Duration::from_secs(1), LIMIT);
        assert!(!verdict.live);
        let [stalled] = verdict.stalled.as_slice() else {
            panic!("{verdict:?}")
        };
        assert_eq!(
            (stalled.part.as_str(), stalled.in_hand, stalled.seconds),
            ("telemetry/3", 4, 61)
        );
        assert!(stalled.why.contains("offset 41"), "{}", stalled.why);
    }

    #[test]
    fn an_idle_partition_lives_for_ever() {
        let start = Instant::now();
        assert!(
            live(
                &snapshot(start, IDLE, Pause::None),
                start + LIMIT * 1000,
                LIMIT
            )
            .live
        );
    }

    #[test]
    fn a_declared_pause_lives_and_says_why() {
        let start = Instant::now();
        for pause in Pause::ALL.into_iter().skip(1) {
            let verdict = live(&snapshot(start, BUSY, pause), start + LIMIT * 2, LIMIT);
            assert!(verdict.live);
            assert_eq!(verdict.paused[0].pause, pause);
            assert_eq!(Pause::of_number(pause as u8), pause);
        }
    }

    #[test]
    fn a_consumer_that_stopped_polling_is_a_stall() {
        let start = Instant::now();
        let mut idle = snapshot(start, IDLE, Pause::None);
        idle.polled = Some(start);
        assert!(live(&idle, start + LIMIT, LIMIT).live);
        let verdict = live(&idle, start + LIMIT * 2, LIMIT);
        assert_eq!(
            (verdict.live, verdict.stalled[0].part.as_str()),
            (false, "consumer")
        );
    }

    #[test]
    fn readiness_names_everything_that_is_missing() {
        let mut some = snapshot(Instant::now(), IDLE, Pause::None);
        assert!(ready(&some).ready);
        some.logged_in = false;
        some.registry_read = false;
        let verdict = ready(&some);
        assert!(!verdict.ready && verdict.missing.len() == 2, "{verdict:?}");
    }
}
