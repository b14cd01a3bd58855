//! Words for the service manager (systemd, sd_notify(3)): that the job is ready, reloads or ends, and that nothing in it stands still
//! without a reason.
//!
//! Owns one socket. Nothing here waits (N1): a word that the manager does not take is lost, and the next one is said all the same.
//!
//! * `READY=1` once the job is ready, or waits and says for what (H1).
//! * `WATCHDOG=1` while `/livez` says yes ([`super::health`]); when it says no, the manager restarts the process after its time.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::{Health, judge};
use super::status_registry::StatusRegistry;
use crate::config::ServiceManager;

/// How often the job is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Where the manager listens, and the socket to send from; none where no manager asked to be told.
    line: Option<Arc<(SocketAddr, UnixDatagram)>>,
    /// How long the manager waits for `WATCHDOG=1`.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// A notifier for the manager that started the process, if there is one.
    #[must_use]
    pub fn of(manager: Option<ServiceManager>) -> Self {
        let line = manager.as_ref().and_then(|manager| {
            let address = match manager.socket.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&manager.socket),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(Arc::new((address.ok()?, socket)))
        });
        Self {
            line,
            watchdog: manager.and_then(|manager| manager.watchdog),
        }
    }

    fn say(&self, words: &str) {
        if let Some(line) = &self.line {
            // A manager that does not read is its own trouble.
            let _ = line.1.send_to_addr(words.as_bytes(), &line.0);
        }
    }

    /// The job begins to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A reload has ended.
    pub fn reloaded(&self, applied: bool) {
        let how = if applied {
            "reloaded"
        } else {
            "the settings were not reloaded: see the log"
        };
        self.say(&format!("STATUS={how}"));
    }

    /// Follows the job for as long as it runs; ends at once where no manager is to be told.
    pub async fn follow(self, board: Arc<StatusRegistry>, stall_after: Duration) {
        if self.line.is_none() {
            return;
        }
        let every = self.watchdog.map_or(LOOK, |time| LOOK.min(time / 3));
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut told, mut status) = (false, String::new());
        loop {
            tick.tick().await;
            let health = judge(&board.snapshot(), Instant::now(), stall_after);
            if !told && (health.ready || !health.waits.is_empty()) {
                self.say("READY=1");
                told = true;
            }
            if self.watchdog.is_some() && health.live {
                self.say("WATCHDOG=1");
            }
            let now = state(&health);
            if now != status {
                self.say(&format!("STATUS={now}"));
                status = now;
            }
        }
    }
}

/// One line about the job.
fn state(health: &Health) -> String {
    match health.waits.first() {
        None => "at work".to_owned(),
        Some(first) => {
            let text = format!(
                "{} things wait; {}: {}",
                health.waits.len(),
                first.subject,
                first.cause
            );
            // The manager takes one line for one word.
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(200)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(socket: &UnixDatagram) -> String {
        let mut text = [0; 512];
        let size = socket.recv(&mut text).expect("a word within the bound");
        String::from_utf8_lossy(&text[..size]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_manager_hears_that_the_job_is_there_and_alive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a bound");
        let notifier = Notifier::of(Some(ServiceManager {
            socket: path.display().to_string(),
            watchdog: Some(Duration::from_millis(300)),
        }));
        let board = StatusRegistry::new(Instant::now());
        board.set_streams(true);
        let task = tokio::spawn(notifier.clone().follow(board, Duration::from_secs(60)));
        let heard = tokio::task::spawn_blocking(move || {
            let mut heard = Vec::new();
            while heard.iter().filter(|word| *word == "WATCHDOG=1").count() < 2 {
                heard.push(next(&manager));
            }
            (heard, manager)
        });
        let (heard, manager) = heard.await.expect("words");
        // It waits for its broker, and says so.
        assert!(heard.iter().any(|word| word == "READY=1"), "{heard:?}");
        assert!(
            heard.iter().any(|word| word.starts_with("STATUS=")),
            "{heard:?}"
        );
        task.abort();
        notifier.stopping();
        let last = tokio::task::spawn_blocking(move || {
            loop {
                let word = next(&manager);
                if word == "STOPPING=1" {
                    return word;
                }
            }
        });
        assert_eq!(last.await.expect("a word"), "STOPPING=1");
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_said() {
        let notifier = Notifier::of(None);
        notifier.stopping();
        notifier
            .follow(StatusRegistry::new(Instant::now()), Duration::from_secs(60))
            .await;
    }
}
