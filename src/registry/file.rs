//! The registry file: devices as lines of JSON, read whole, replaced whole, followed by the job.
//!
//! A reader sees the old file or the new one, never a part: [`replace`] writes another file beside it and renames that. If a
//! changed file cannot be read, the last good snapshot stays in force, with an alarm: without a registry no device may pass
//! (G1).

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use super::{Config, Device, RegistryWatch, Snapshot};
use crate::ops::metrics::registry as metrics;
use crate::ops::status_registry::StatusRegistry;

/// How often the file's time and length are checked.
const LOOK: Duration = Duration::from_millis(500);

/// Reads all devices, their serials in normal form.
///
/// # Errors
/// The line that is no device, with its number; the file itself.
pub fn read(path: &Path) -> anyhow::Result<Vec<Device>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut devices = Vec::new();
    for (index, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let device: Device = serde_json::from_str(&line)
            .with_context(|| format!("{}:{}: this is no device", path.display(), index + 1))?;
        let device = device
            .normal()
            .with_context(|| format!("{}:{}", path.display(), index + 1))?
            .into_owned();
        devices.push(device);
    }
    Ok(devices)
}

/// Replaces the file atomically.
///
/// # Errors
/// The file system's.
pub fn replace(path: &Path, devices: &[Device]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let write = || -> anyhow::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(&beside)?);
        for device in devices {
            serde_json::to_writer(&mut out, device)?;
            out.write_all(b"\n")?;
        }
        out.into_inner()?.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// An empty registry until `stop`, for a job that does not use one.
pub fn none(stop: CancellationToken) -> (RegistryWatch, JoinHandle<()>) {
    let (to, from) = watch::channel(Arc::default());
    let task = tokio::spawn(async move {
        stop.cancelled().await;
        drop(to);
    });
    (from, task)
}

/// Reads the file and follows it until `stop`.
///
/// # Errors
/// As [`read`], at the start only.
pub fn follow(
    config: &Config,
    board: Arc<StatusRegistry>,
    stop: CancellationToken,
) -> anyhow::Result<(RegistryWatch, JoinHandle<()>)> {
    let path = config.file.clone();
    let mut trouble = Trouble::new(board, path.display().to_string());
    let mut seen = changed_at(&path);
    let (to, from) = watch::channel(Arc::new(load(&path)?));
    let task = tokio::spawn(async move {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = changed_at(&path);
            if now == seen {
                continue;
            }
            seen = now;
            let again = path.clone();
            let read = tokio::task::spawn_blocking(move || load(&again)).await;
            match read
                .map_err(anyhow::Error::from)
                .and_then(|result: anyhow::Result<Snapshot>| result)
            {
                Ok(snapshot) => {
                    trouble.end();
                    tracing::info!(devices = snapshot.len(), "the device registry changed");
                    to.send_replace(Arc::new(snapshot));
                }
                Err(error) => trouble.begin(&format!("{error:#}")),
            }
        }
    });
    Ok((from, task))
}

fn load(path: &Path) -> anyhow::Result<Snapshot> {
    let devices = read(path)?;
    let mut snapshot = Snapshot::new(&devices)
        .with_context(|| format!("{}: this is no device", path.display()))?;
    snapshot.shrink();
    metrics::devices(&snapshot.counts());
    if let Some((serial, devices)) = snapshot.dispute_example() {
        tracing::error!(
            serial,
            ?devices,
            disputed = snapshot.counts().disputed,
            "devices claim the same serial: none of them may send until all but one give it up"
        );
    }
    Ok(snapshot)
}

fn changed_at(path: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn device(id: &str, serial: &str, state: State) -> Device {
        Device {
            device_id: id.into(),
            serial: Some(serial.into()),
            state,
            order: None,
            since: None,
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("devices.ndjson");
        let devices = vec![
            device("a", "CX0000000001", State::Active),
            device("b", "CX0000000002", State::Pending),
        ];
        replace(&path, &devices).expect("writes");
        assert_eq!(read(&path).expect("reads"), devices);
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("devices.ndjson");
        std::fs::write(&path, "{\"device_id\":\"a\",\"state\":\"active\"}\n\n{\"device_id\":\"b\",\"state\":\"asleep\"}\n").expect("writes");
        let error = format!("{:#}", read(&path).expect_err("refused"));
        assert!(error.contains("devices.ndjson:3:"), "{error}");
        assert!(error.contains("asleep"), "{error}");
    }

    #[tokio::test]
    async fn a_change_is_followed_and_a_broken_file_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("devices.ndjson");
        replace(&file, &[device("a", "CX0000000001", State::Pending)]).expect("writes");
        let stop = CancellationToken::new();
        let board = StatusRegistry::new(std::time::Instant::now());
        let (mut feed, task) = follow(
            &Config {
                file: file.clone(),
                ..Config::default()
            },
            Arc::clone(&board),
            stop.clone(),
        )
        .expect("starts");
        replace(
            &file,
            &[
                device("a", "CX0000000001", State::Active),
                device("b", "CX0000000002", State::Active),
            ],
        )
        .expect("writes");
        let arrived =
            tokio::time::timeout(Duration::from_secs(20), feed.wait_for(|s| s.len() == 2)).await;
        assert!(arrived.is_ok_and(|r| r.is_ok()), "the change arrives");
        std::fs::write(&file, "nonsense\n").expect("writes");
        let published = async {
            while board.snapshot().waits.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let published = tokio::time::timeout(Duration::from_secs(20), published).await;
        assert!(published.is_ok(), "that it cannot be read is published");
        assert_eq!(feed.borrow().len(), 2);
        stop.cancel();
        task.await.expect("ends");
    }
}
