//! What is shown while the demonstration runs: a line for every stage of the journey, and how far the load is.

use crate::ops::log;
use std::io::IsTerminal as _;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Standard error, with a bar at its bottom if it is a terminal.
pub struct Screen {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Screen {
    /// `most`: how many records the bar is long.
    pub fn new(begun: Instant, most: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(most).with_style(style)
        });
        Self { begun, bar }
    }

    /// A stage that was reached.
    pub fn stage(&self, name: &str, text: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.line(format!("{seconds:>5.1} s  {name:<12} {text}"));
    }

    /// How far the records are; without a bar only when a line is due.
    pub fn progress(&self, settled: u64, text: String, is_due: bool) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(settled);
                bar.set_message(text);
            }
            None if is_due => log::progress(&text),
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: String) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => log::progress(&text),
        }
    }
}
