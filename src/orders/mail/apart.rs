//! Opening a mail in a process of its own: what a PDF file or a mail within a mail makes a parser do ends at most that process.
//!
//! The process is this program with the command [`COMMAND`]: it gets the mail on its standard input, gives what it read on its standard
//! output, and has no environment, no settings and no file. [`answer`] is its whole work, after its caller has bounded its memory and
//! its time. [`open`] starts it and waits for it, at most `WITHIN`; a caller that is dropped meanwhile ends it.
//!
//! One process at a time for each caller; there is no queue.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::opened::{self, How, Opened};

/// The command that opens a mail, and the option that gives its memory in MiB.
pub const COMMAND: &str = "read-mail";
pub const MEMORY: &str = "--memory-mb";
/// Seconds of the processor that it may use.
pub const SECONDS: u64 = 20;
/// How long it is waited for: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(120);
/// Bytes of its answer, at most: texts with what JSON adds to them.
const ANSWER: usize = 4 * opened::TEXTS;

/// Where the program is that opens mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(PathBuf);

impl Program {
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Default for Program {
    /// The one that runs, also after its file was replaced.
    fn default() -> Self {
        Self(PathBuf::from("/proc/self/exe"))
    }
}

/// Opens a mail; nothing if it is none.
///
/// # Errors
/// Why it was not opened, and what to do about it.
pub async fn open(
    program: &Program,
    mail: &[u8],
    memory_mb: u64,
) -> Result<Option<Opened>, String> {
    let answer = tokio::time::timeout(WITHIN, asked(&program.0, mail, memory_mb)).await;
    let bytes = answer.unwrap_or_else(|_| {
        let seconds = WITHIN.as_secs();
        Err(format!(
            "opening it took more than {seconds} s; compare it by hand and remove it"
        ))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("what was read of it is not understood ({error}); remove the mail")
    })
}

async fn asked(program: &Path, mail: &[u8], memory_mb: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| {
        format!(
            "the process that opens PDF files and forwarded mails cannot be used ({error}); see that /proc is there and processes may be started"
        )
    };
    let mut child = Command::new(program)
        .args([COMMAND, MEMORY, &memory_mb.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err("the process that opens mails has no pipes; try again".to_owned());
    };
    let write = async {
        // It may end before it has read everything; its end tells why.
        let _ = stdin.write_all(mail).await;
        drop(stdin);
    };
    let read = async {
        let mut answer = Vec::new();
        let mut bounded = stdout.take(ANSWER as u64 + 1);
        bounded.read_to_end(&mut answer).await.map(|_| answer)
    };
    let ((), answer) = tokio::join!(write, read);
    let answer = answer.map_err(failed)?;
    if answer.len() > ANSWER {
        return Err("its texts are too long; compare it by hand and remove it".to_owned());
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(answer)
    } else {
        Err(format!(
            "a PDF file or a mail within it needs more than {memory_mb} MiB or {SECONDS} s to open, or broke the reader ({status}); \
             compare it by hand and remove it, or raise orders.mail.reader_memory_mb"
        ))
    }
}

/// The answer of the process about a mail.
///
/// # Errors
/// It cannot be written as JSON.
pub fn answer(mail: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&opened::open(mail, How::Whole))
}
