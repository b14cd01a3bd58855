//! Making the job fit into the memory it is given: sizes that nobody set are lowered until the memory formula fits the limit.
//!
//! The limit is `[memory] limit_bytes`, or that of the control group ([`super::cgroup`]). Only settings that have their default value
//! are lowered, all in the same proportion and none below what the job needs to move; what was set by a person stays. What does not
//! fit all the same is refused by [`Formula::check`](super::memory::Formula::check).

use std::path::PathBuf;

use serde::Serialize;

use super::Settings;
use super::cgroup;

/// Steps in which sizes are lowered.
const STEPS: u64 = 64;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A size that was lowered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lowered {
    pub setting: &'static str,
    pub from: u64,
    pub to: u64,
}

/// What was done to make the job fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The file of the control group whose limit counts; none if the limit is a setting or there is none.
    pub limit_file: Option<PathBuf>,
    pub lowered: Vec<Lowered>,
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Lowered { setting, from, to }) in self.lowered.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{setting} {from} -> {to}")?;
        }
        Ok(())
    }
}

/// A size that may be lowered.
struct Size {
    setting: &'static str,
    least: u64,
    get: fn(&Settings) -> u64,
    set: fn(&mut Settings, u64),
}

const SIZES: [Size; 9] = [
    Size {
        setting: "memory.total_bytes",
        least: 8 * MIB,
        get: |all| all.memory.total_bytes,
        set: |all, to| all.memory.total_bytes = to,
    },
    Size {
        setting: "memory.partition_bytes",
        least: 2 * MIB,
        get: |all| all.memory.partition_bytes,
        set: |all, to| all.memory.partition_bytes = to,
    },
    Size {
        setting: "memory.window_messages",
        least: 10_000,
        get: |all| all.memory.window_messages,
        set: |all, to| all.memory.window_messages = to,
    },
    Size {
        setting: "kafka.prefetch_kib_per_partition",
        least: 128,
        get: |all| all.kafka.prefetch_kib_per_partition.into(),
        set: |all, to| all.kafka.prefetch_kib_per_partition = to as u32,
    },
    Size {
        setting: "batch.max_bytes",
        least: 512 * KIB,
        get: |all| all.batch.max_bytes as u64,
        set: |all, to| all.batch.max_bytes = to as usize,
    },
    Size {
        setting: "feedback.sources",
        least: 5_000,
        get: |all| all.feedback.sources as u64,
        set: |all, to| all.feedback.sources = to as usize,
    },
    Size {
        setting: "feedback.page_bytes",
        least: MIB,
        get: |all| all.feedback.page_bytes as u64,
        set: |all, to| all.feedback.page_bytes = to as usize,
    },
    Size {
        setting: "feedback.remembered",
        least: 10_000,
        get: |all| all.feedback.remembered as u64,
        set: |all, to| all.feedback.remembered = to as usize,
    },
    Size {
        setting: "myadmin.answer_bytes",
        least: 4 * MIB,
        get: |all| all.myadmin.answer_bytes as u64,
        set: |all, to| all.myadmin.answer_bytes = to as usize,
    },
];

impl Settings {
    /// Takes the limit of the control group if none is set, and lowers the sizes that nobody set until the job fits.
    pub fn fit(&mut self, partitions: u64) -> Fit {
        self.fit_into(cgroup::own(), partitions)
    }

    /// As [`fit`](Self::fit), with the control group's limit as an argument.
    pub fn fit_into(&mut self, group: Option<cgroup::Limit>, partitions: u64) -> Fit {
        let mut fit = Fit::default();
        if self.memory.limit_bytes == 0
            && let Some(group) = group
        {
            self.memory.limit_bytes = group.bytes;
            fit.limit_file = Some(group.file);
        }
        let fits = |settings: &Self| settings.memory_formula(partitions).check().is_ok();
        if fits(self) {
            return fit;
        }
        let defaults = Self::default();
        let free: Vec<&Size> = SIZES
            .iter()
            .filter(|size| (size.get)(self) == (size.get)(&defaults))
            .collect();
        for step in (0..STEPS).rev() {
            let mut lowered = self.clone();
            for size in &free {
                let from = (size.get)(&defaults);
                (size.set)(&mut lowered, (from * step / STEPS).max(size.least));
            }
            if !lowered.keeps_its_order() {
                continue;
            }
            if fits(&lowered) || step == 0 {
                fit.lowered = free
                    .iter()
                    .map(|size| Lowered {
                        setting: size.setting,
                        from: (size.get)(self),
                        to: (size.get)(&lowered),
                    })
                    .filter(|one| one.to != one.from)
                    .collect();
                *self = lowered;
                break;
            }
        }
        fit
    }

    /// Whether the sizes still fit into each other, with those that a person set.
    fn keeps_its_order(&self) -> bool {
        let memory = &self.memory;
        self.batch.max_bytes as u64 <= memory.partition_bytes
            && memory.partition_bytes <= memory.total_bytes
            && memory.window_messages >= memory.chunk_messages as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(bytes: u64) -> Option<cgroup::Limit> {
        let file = "/sys/fs/cgroup/memory.max".into();
        Some(cgroup::Limit { bytes, file })
    }

    #[test]
    fn the_defaults_fit_into_a_container_of_256_megabytes() {
        for (bytes, partitions) in [
            (256_000_000, 16),
            (256 << 20, 16),
            (256_000_000, 1),
            (1 << 30, 64),
        ] {
            let mut settings = Settings::default();
            let fit = settings.fit_into(group(bytes), partitions);
            let formula = settings.memory_formula(partitions);
            assert!(formula.check().is_ok(), "{bytes}: {formula:#?}");
            assert_eq!(formula.limit_bytes, bytes);
            assert_eq!(fit.limit_file, Some("/sys/fs/cgroup/memory.max".into()));
            assert!(settings.keeps_its_order(), "{settings:?}");
            // Most of what is given is used.
            assert!(
                fit.lowered.is_empty() || formula.total_bytes > bytes / 4 * 3,
                "{formula:#?}"
            );
        }
    }

    #[test]
    fn orders_fit_too() {
        let mut settings = Settings::default();
        settings.orders.enabled = true;
        settings.gate.mode = crate::pipeline::gate::Mode::Registry;
        settings.memory.devices = 10_000;
        settings.fit_into(group(512_000_000), 16);
        let formula = settings.memory_formula(16);
        assert!(formula.check().is_ok(), "{formula:#?}");
    }

    #[test]
    fn where_there_is_room_nothing_is_lowered() {
        let mut settings = Settings::default();
        let fit = settings.fit_into(group(64 << 30), 16);
        assert_eq!(fit.lowered, []);
        assert_eq!(settings.fit_into(None, 16), Fit::default());
    }

    #[test]
    fn what_a_person_set_stays_and_may_be_too_much() {
        let mut settings = Settings::default();
        settings.memory.total_bytes += 1;
        settings.memory.partition_bytes += 1;
        let total = settings.memory.total_bytes;
        let fit = settings.fit_into(group(256_000_000), 16);
        assert_eq!(settings.memory.total_bytes, total);
        assert!(
            fit.lowered
                .iter()
                .any(|one| one.setting == "kafka.prefetch_kib_per_partition")
        );
        assert!(settings.memory_formula(16).check().is_err());
        // A limit that was set is kept, whatever the group says.
        let mut settings = Settings::default();
        settings.memory.limit_bytes = 8 << 30;
        assert_eq!(settings.fit_into(group(1), 16), Fit::default());
        assert_eq!(settings.memory.limit_bytes, 8 << 30);
    }
}
