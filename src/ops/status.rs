//! Where the job stands: the plain facts that the operations pages show and [`super::health`] judges.
//!
//! Does no I/O and reads no clock.

use std::time::Instant;

use serde::Serialize;

use super::journey::Journey;
use super::waits::Published;

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
    /// The schema of a message is asked for, and the schema registry does not answer.
    Schema,
}

impl Pause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Gateway,
        Self::Alarm,
        Self::DeadLetter,
        Self::Held,
        Self::Draining,
        Self::Store,
        Self::Schema,
    ];

    /// The pause of that number; an unknown number is no pause.
    pub fn of_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }

    /// The cause, in words.
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
            Self::Schema => "the schema of a message is asked for; check the schema registry",
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

/// How far a partition is read and committed, against what there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The next offset to be read; `None` before anything was read or skipped.
    pub next: Option<i64>,
    /// The next offset that the broker would assign to a new message, as last asked; `None` before the first answer.
    pub end: Option<i64>,
    /// The last stable offset, as asked at that moment: what lies between it and `end` waits for the end of a transaction.
    pub stable: Option<i64>,
    /// Up to where the broker confirmed a commit of this assignment.
    pub committed: Option<i64>,
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
    pub position: Position,
    pub pause: Pause,
    /// When the pause began; without one, when the last one ended.
    pub paused: Instant,
    /// When a record was last settled, or the first one came to an idle partition.
    pub progress: Instant,
    /// When the position last moved, or something came to be read after everything was read.
    pub read: Instant,
    /// When a commit was last confirmed, or the watermark passed what was confirmed.
    pub confirmed: Instant,
    /// When something of a release last moved, or a release began.
    pub released: Instant,
}

/// What the Kafka client says about its membership in the consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// The client has joined and has been given its partitions, be it none.
    pub steady: bool,
    /// The states of the client's coordinator connection and join, in its own words.
    pub states: String,
    /// Since when `steady` is what it is.
    #[serde(skip)]
    pub since: Instant,
}

/// A log that was found to be in another life than what was remembered of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogChange {
    pub topic: String,
    pub partition: i32,
    /// `recreated`, `tail_lost` or `commit_above_end`.
    pub change: &'static str,
    pub meaning: &'static str,
    /// From where on it is read again.
    pub from: i64,
    pub at: String,
}

/// The whole job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When the process began.
    pub started: Instant,
    /// This process carries records; what follows of the gateway, the group and the registry counts only then.
    pub streams: bool,
    /// The order journey, if this process does it.
    pub journey: Option<Journey>,
    /// There is at least one topic to be read; without one there is no group to join.
    pub inputs: bool,
    /// The group has assigned this instance its partitions, be it none.
    pub assigned: bool,
    /// Since when `assigned` is what it is.
    pub assigned_since: Instant,
    /// The client's own word about the group; `None` before its first statistics.
    pub membership: Option<Membership>,
    /// A login at the gateway has succeeded.
    pub logged_in: bool,
    /// The device registry has been read to its end, or is not used.
    pub registry_read: bool,
    /// When the consumer thread last polled; `None` before the first time.
    pub polled: Option<Instant>,
    /// Nearly all memory permits are lent out.
    pub memory_full: bool,
    pub partitions: Vec<Partition>,
    /// What was published as waiting.
    pub waits: Vec<Published>,
    /// The newest changes of logs.
    pub log_changes: Vec<LogChange>,
}
