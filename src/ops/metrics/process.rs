//! Metrics of the process itself; memory and CPU come from `/proc` and are absent where there is none.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

/// The unit in which `/proc/self/stat` counts CPU time: fixed by the kernel's interface for user programs (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Sets those that never change.
///
/// * `dig_ingest_build_version`: Always 1, with the program's version as its label.
/// * `dig_ingest_process_start_time_seconds`: When counting began, since the epoch.
pub(super) fn start() {
    gauge!("dig_ingest_build_version", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    gauge!("dig_ingest_process_start_time_seconds").set(now.as_secs_f64());
}

/// A reload of the settings ended.
///
/// * `dig_ingest_reloads_total`: SIGHUP asked for a reload; `outcome` is `applied`, or `refused`: the old settings stay in force.
/// * `dig_ingest_reload_refused`: 1 while the last reload was refused.
pub fn reloaded(applied: bool) {
    let outcome = if applied { "applied" } else { "refused" };
    counter!("dig_ingest_reloads_total", "outcome" => outcome).increment(1);
    gauge!("dig_ingest_reload_refused").set(f64::from(u8::from(!applied)));
}

/// Reads memory and CPU time now.
///
/// * `dig_ingest_process_resident_bytes`: Resident memory of the process.
/// * `dig_ingest_process_cpu_seconds`: CPU time of the process, user and system.
pub(super) fn sample() {
    if let Some(bytes) = read("/proc/self/status").as_deref().and_then(resident) {
        gauge!("dig_ingest_process_resident_bytes").set(bytes);
    }
    if let Some(seconds) = read("/proc/self/stat").as_deref().and_then(cpu) {
        gauge!("dig_ingest_process_cpu_seconds").set(seconds);
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn resident(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<f64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024.0)
}

fn cpu(stat: &str) -> Option<f64> {
    // The program's name may hold spaces and brackets; user and system time are fields 14 and 15 of the line.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system) = (
        fields.next()?.parse::<f64>().ok()?,
        fields.next()?.parse::<f64>().ok()?,
    );
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_read() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    2048 kB\n"),
            Some(2_097_152.0)
        );
        assert_eq!(cpu("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0"), Some(2.0));
        assert_eq!(cpu("7 (a"), None);
    }
}
