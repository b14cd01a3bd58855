//! What the demonstration says in the end, and whether that is good.

use serde::Serialize;

use super::script::Applied;
use super::stages::Stages;
use crate::commands::console::{out, outln};
use crate::commands::{Report as Form, verify};
use crate::verify::judge::Verdict;

/// What `--report json` prints, with the members of `verify`'s, which is about the records of the load and of the devices that were
/// ordered. `produced`, `bad`, `poison` and `devices` are the load's.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub verdict: Verdict,
    pub produced: u64,
    pub bad: u64,
    pub poison: u64,
    /// Of the load: all letters but those of the journey.
    pub dead_lettered: u64,
    /// To `/records`.
    pub requests: u64,
    pub faults: Vec<Applied>,
    pub settled: bool,
    pub journey: Stages,
    /// What of the journey does not add up.
    pub wrong: Vec<String>,
    pub seconds: f64,
    pub devices: u32,
    pub partitions: i32,
    pub seed: u64,
}

impl Report {
    pub fn is_good(&self) -> bool {
        // Bad and refused records must be somewhere: in the letters, each once, as nothing was restarted.
        let letters = self.verdict.letters.as_ref();
        let in_letters = letters.is_some_and(|letters| {
            (
                letters.repeated,
                letters.strange,
                letters.dead_lettered_accepted,
            ) == (0, 0, 0)
        });
        self.verdict.is_sound()
            && self.settled
            && in_letters
            && self.dead_lettered == self.bad + self.poison
            && self.wrong.is_empty()
    }

    pub fn print(&self, form: Form) -> anyhow::Result<()> {
        if form == Form::Json {
            outln!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        outln!("{}", self.journey.text());
        outln!(
            "beside it {} records of {} active devices over {} partitions, in {:.1} s and {} requests; {} bad, {} to be refused\n",
            self.produced,
            self.devices,
            self.partitions,
            self.seconds,
            self.requests,
            self.bad,
            self.poison
        );
        outln!("what went wrong on purpose:");
        for fault in &self.faults {
            outln!("  {:>3} x  {}", fault.times, fault.what);
        }
        outln!("\nwhat came of all records:");
        out!("{}", verify::text(&self.verdict));
        if self.verdict.duplicated > 0 {
            outln!(
                "(duplicates are the requests whose answer was lost: sent again, as nobody could know they had arrived)"
            );
        }
        outln!(
            "dead letters {} (bad {} + refused {}), besides those of the journey",
            self.dead_lettered,
            self.bad,
            self.poison
        );
        let end = match (self.is_good(), self.settled) {
            (true, _) => "nothing lost, nothing reordered, nothing made up",
            (false, false) => "NOT GOOD: the job did not finish in time",
            (false, true) => "NOT GOOD",
        };
        outln!("\n{end}");
        Ok(())
    }
}
