//! The dead-letter share guard: stops the job before a changed contract or a bad deploy dead-letters a fleet.
//!
//! Owns counts of messages per second, and of dead-lettered messages by device. Every worker notes what it is about to do *before*
//! a letter is written, so the letters of the chunk that trips the guard are not written; their records stay unsettled and are
//! read again after a restart.
//!
//! * Messages are counted, not records: one message counts once, however many of its records are rejected.
//! * The device with the most dead-lettered messages is left out of the share and of the number of messages, and at least [`OTHERS`]
//!   other devices must have some: one device, or one key, never stops the job. It is named in the log instead.
//!
//! The guard only reports whether the limit is passed, and stays tripped; the worker ends the job. Devices are remembered for
//! the window only, at most `DEVICES` of them; further ones count together as one that is never the worst.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::letter::{Destination, Letter};
use super::settings::Guard as Config;

/// Devices beside the worst one that must have dead letters before the guard may act.
pub const OTHERS: usize = 2;
/// Devices with dead letters that are told apart within the window.
const DEVICES: usize = 4_096;
/// Bytes of a device's name that are kept.
const NAME_BYTES: usize = 64;

/// The share is above the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{dead} of {messages} messages within {window_s} s, of at least {devices} devices, would become dead letters \
     (guard.share = {share}); the most, {worst_dead}, are of device {worst}; nothing of this is lost: correct the input or the \
     rules, or raise guard.share, and start again"
)]
pub struct Tripped {
    pub dead: u64,
    pub messages: u64,
    /// Devices with dead letters that were told apart.
    pub devices: usize,
    /// The device with the most dead letters, and how many messages of it.
    pub worst: String,
    pub worst_dead: u64,
    pub window_s: u64,
    pub share: f64,
}

/// Counts of one second.
#[derive(Debug, Default)]
struct Second {
    /// The second, counted from the guard's start.
    at: u64,
    /// Messages read in it.
    messages: u64,
    /// Dead-lettered messages by device.
    dead: HashMap<Box<[u8]>, u64>,
    /// Dead-lettered messages of devices that are not told apart.
    other_dead: u64,
}

#[derive(Debug)]
struct Window {
    /// Share, window and least number of messages; replaced while the job runs.
    config: Config,
    /// The seconds of the window that had messages, oldest first.
    seconds: VecDeque<Second>,
    /// Messages read in the window.
    messages: u64,
    /// Dead-lettered messages of the window.
    dead: u64,
    /// Dead-lettered messages of the window by device, at most `DEVICES` of them.
    devices: HashMap<Box<[u8]>, u64>,
    /// Why the guard tripped; never cleared.
    tripped: Option<Tripped>,
    /// The second in which a single device was last named in the log.
    named_at: Option<u64>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    /// Where seconds are counted from.
    start: Instant,
    /// What happened lately, of all workers. A lock: every worker notes one chunk at a time, a few hundred nanoseconds, never
    /// across an await.
    window: Mutex<Window>,
}

impl Window {
    fn new(config: Config) -> Self {
        Self {
            config,
            seconds: VecDeque::new(),
            messages: 0,
            dead: 0,
            devices: HashMap::new(),
            tripped: None,
            named_at: None,
        }
    }
}

/// The device of each dead-lettered message, one entry per message. `key` gives the Kafka key of the message at an offset,
/// which takes precedence over what the message itself names; offsets are asked for in ascending order. `last` is the offset of
/// the newest message that was counted; the caller keeps it, because the letters of one message may come in parts.
pub fn dead_messages<'l>(
    letters: impl Iterator<Item = &'l Letter>,
    mut key: impl FnMut(i64) -> Option<&'l [u8]>,
    last: &mut Option<i64>,
) -> Vec<&'l [u8]> {
    let mut devices = Vec::new();
    for letter in letters {
        let offset = letter.source.offset;
        if letter.destination != Destination::DeadLetter || *last == Some(offset) {
            continue;
        }
        *last = Some(offset);
        let serial = || letter.reason.serial.as_deref().map(str::as_bytes);
        // All messages without a key that name no device count as one device.
        let device = key(offset)
            .or_else(serial)
            .or(letter.key.as_deref())
            .unwrap_or_default();
        devices.push(&device[..device.len().min(NAME_BYTES)]);
    }
    devices
}

impl Guard {
    #[must_use]
    pub fn new(config: Config, start: Instant) -> Self {
        Self {
            start,
            window: Mutex::new(Window::new(config)),
        }
    }

    /// Takes over other settings; what happened in the window stays. A guard that has tripped stays tripped.
    pub fn set(&self, config: Config) {
        self.locked().config = config;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes `messages` read and the devices of those that are about to become dead letters, one entry per message.
    ///
    /// # Errors
    /// The share is above the limit, now or before.
    pub fn note(&self, messages: u64, dead: &[&[u8]], now: Instant) -> Result<(), Tripped> {
        let second = now.saturating_duration_since(self.start).as_secs();
        let mut window = self.locked();
        if let Some(tripped) = &window.tripped {
            return Err(tripped.clone());
        }
        window.add(second, messages, dead);
        let Config {
            share,
            window_s,
            min_records,
        } = window.config;
        window.forget(second.saturating_sub(window_s.saturating_sub(1)));
        if dead.is_empty() {
            return Ok(());
        }
        let (worst, worst_dead) = window.worst();
        let base = window.messages.max(window.dead);
        let over = |dead: u64, of: u64| dead as f64 > share * of as f64;
        if base < min_records || !over(window.dead, base) {
            return Ok(());
        }
        let others = window.devices.len().saturating_sub(1);
        let rest = base - worst_dead;
        if others >= OTHERS && rest >= min_records && over(window.dead - worst_dead, rest) {
            let tripped = Tripped {
                dead: window.dead,
                messages: base,
                devices: window.devices.len(),
                worst,
                worst_dead,
                window_s,
                share,
            };
            window.tripped = Some(tripped.clone());
            return Err(tripped);
        }
        let due = window.named_at.is_none_or(|at| second >= at + window_s);
        if due {
            window.named_at = Some(second);
            tracing::error!(
                device = worst,
                dead_lettered_messages = worst_dead,
                messages = base,
                window_s,
                "most messages become dead letters, and nearly all of these are of one device; the job goes on: correct what the \
                 device sends, or stop the device"
            );
        }
        Ok(())
    }

    /// The window's length.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.locked().config.window_s)
    }
}

impl Window {
    fn add(&mut self, second: u64, messages: u64, dead: &[&[u8]]) {
        if self.seconds.back().is_none_or(|newest| newest.at != second) {
            self.seconds.push_back(Second {
                at: second,
                ..Second::default()
            });
        }
        let Some(newest) = self.seconds.back_mut() else {
            return;
        };
        newest.messages += messages;
        self.messages += messages;
        self.dead += dead.len() as u64;
        for &device in dead {
            if !self.devices.contains_key(device) && self.devices.len() >= DEVICES {
                newest.other_dead += 1;
                continue;
            }
            *self.devices.entry(device.into()).or_default() += 1;
            *newest.dead.entry(device.into()).or_default() += 1;
        }
    }

    /// Removes the seconds before `first` from the window.
    fn forget(&mut self, first: u64) {
        while self.seconds.front().is_some_and(|oldest| oldest.at < first) {
            let Some(oldest) = self.seconds.pop_front() else {
                return;
            };
            self.messages -= oldest.messages;
            self.dead -= oldest.other_dead;
            for (device, count) in oldest.dead {
                self.dead -= count;
                if let Some(left) = self.devices.get_mut(&device) {
                    *left -= count;
                    if *left == 0 {
                        self.devices.remove(&device);
                    }
                }
            }
        }
    }

    /// The device with the most dead-lettered messages.
    fn worst(&self) -> (String, u64) {
        let worst = self.devices.iter().max_by_key(|(_, count)| **count);
        worst.map_or_else(Default::default, |(device, count)| {
            let name = match &**device {
                [] => "unknown (the messages have no key)".to_owned(),
                device => String::from_utf8_lossy(device).escape_debug().to_string(),
            };
            (name, *count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(share: f64) -> (Guard, Instant) {
        let start = Instant::now();
        let config = Config {
            share,
            window_s: 10,
            min_records: 100,
        };
        (Guard::new(config, start), start)
    }

    /// `count` dead-lettered messages, of `devices` devices in turn.
    fn dead(count: usize, devices: usize) -> Vec<&'static [u8]> {
        const NAMES: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        (0..count).map(|n| NAMES[n % devices]).collect()
    }

    #[test]
    fn trips_above_the_share_and_stays_tripped() {
        let (guard, now) = guard(0.5);
        assert!(guard.note(1_000, &dead(500, 5), now).is_ok());
        let tripped = guard.note(200, &dead(200, 5), now).unwrap_err();
        assert_eq!(
            (tripped.dead, tripped.messages, tripped.devices),
            (700, 1_200, 5)
        );
        assert!(guard.note(100_000, &[], now).is_err());
    }

    #[test]
    fn two_devices_are_not_several() {
        let (guard, now) = guard(0.1);
        assert!(guard.note(2_000, &dead(2_000, 2), now).is_ok());
        assert!(guard.note(2_000, &dead(2_000, 3), now).is_err());
    }

    #[test]
    fn one_device_never_trips_it_whatever_it_sends() {
        let (guard, now) = guard(0.1);
        for _ in 0..100 {
            assert!(guard.note(1_000, &dead(1_000, 1), now).is_ok());
        }
        // Nor with a few broken messages of others beside it.
        assert!(guard.note(10, &dead(10, 5), now).is_ok());
    }

    #[test]
    fn the_worst_device_is_named_and_left_out_of_the_share() {
        let (guard, now) = guard(0.5);
        let mut all = dead(300, 5);
        all.extend(dead(600, 1));
        let tripped = guard.note(1_000, &all, now).unwrap_err();
        assert_eq!((tripped.worst.as_str(), tripped.worst_dead), ("a", 660));
        assert!(
            tripped.to_string().contains("660, are of device a"),
            "{tripped}"
        );
    }

    #[test]
    fn needs_enough_messages() {
        let (guard, now) = guard(0.1);
        // Without the worst device's.
        assert!(guard.note(120, &dead(120, 5), now).is_ok());
        assert!(guard.note(10, &dead(10, 5), now).is_err());
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let (guard, now) = guard(0.5);
        assert!(guard.note(1_000, &dead(400, 5), now).is_ok());
        let later = now + Duration::from_secs(11);
        assert!(
            guard.note(50, &dead(50, 5), later).is_ok(),
            "only 50 messages in the window"
        );
        let window = guard.window.lock().unwrap();
        assert_eq!(
            (window.messages, window.dead, window.devices.len()),
            (50, 50, 5)
        );
    }

    #[test]
    fn more_devices_than_are_told_apart_trip_it_too() {
        let (guard, now) = guard(0.5);
        let names: Vec<String> = (0..3 * DEVICES).map(|n| n.to_string()).collect();
        let dead: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let tripped = guard.note(dead.len() as u64, &dead, now).unwrap_err();
        assert_eq!(tripped.devices, DEVICES);
    }

    #[test]
    fn a_share_of_one_is_off() {
        let (guard, now) = guard(1.0);
        assert!(guard.note(1_000, &dead(1_000, 5), now).is_ok());
        let later = now + Duration::from_secs(11);
        assert!(
            guard.note(0, &dead(1_000, 5), later).is_ok(),
            "refused later"
        );
    }
}
