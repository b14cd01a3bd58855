//! Child processes of the program under test: their signals, their logs, their reports.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;

use super::{program, wait_for};

/// Lines of a log that are shown when a test fails.
const SHOWN: usize = 60;

/// A running `dig-ingest COMMAND`; dropping it kills it. Its output is kept, and shown if the test fails.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What is special about a start.
#[derive(Debug, Default)]
pub struct Launch {
    /// A command that runs the program, such as `prlimit --nofile=64 --`.
    pub through: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// In place of the output file.
    pub stdout: Option<Stdio>,
    /// In place of the log file.
    pub stderr: Option<Stdio>,
}

impl Launch {
    /// A start through another command.
    pub fn through(command: &[&str]) -> Self {
        Self {
            through: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Self::default()
        }
    }
}

impl Running {
    /// Starts the program; `name` names its output files in `folder`.
    pub fn start(name: &str, folder: &Path, args: &[String]) -> Self {
        Self::launch(name, folder, args, Launch::default())
    }

    /// As [`Running::start`], in a special way.
    pub fn launch(name: &str, folder: &Path, args: &[String], how: Launch) -> Self {
        let (stdout, stderr) = (
            folder.join(format!("{name}.out")),
            folder.join(format!("{name}.log")),
        );
        let file = |path: &Path| Stdio::from(File::create(path).expect("an output file"));
        // Killed by the kernel with the thread that started it, should this process end without dropping anything.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(how.through)
            .arg(program())
            .args(args)
            .envs(how.variables)
            .stdin(Stdio::null())
            .stdout(how.stdout.unwrap_or_else(|| file(&stdout)))
            .stderr(how.stderr.unwrap_or_else(|| file(&stderr)))
            .spawn()
            .expect("the program starts");
        Self {
            name: name.to_owned(),
            child,
            status: None,
            stdout,
            stderr,
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
            + &fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of ours");
        }
        self.status.is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had resident.
    pub fn peak_resident_bytes(&mut self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Resident pages of files, the program's own: the kernel drops them when memory is short.
    pub fn file_bytes(&mut self) -> u64 {
        self.memory("RssFile:")
    }

    /// A figure of the kernel's about the memory of the process.
    fn memory(&mut self, name: &str) -> u64 {
        assert!(self.alive(), "{} has ended", self.name);
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the kernel says it") * 1024
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            self.status = Some(self.child.wait().expect("a child of ours"));
        }
    }

    /// SIGSTOP, SIGCONT or SIGTERM by name.
    pub fn signal(&mut self, signal: &str) {
        assert!(
            self.alive(),
            "{} has ended:\n{}",
            self.name,
            tail(&self.log())
        );
        let pid = self.child.id().to_string();
        let status = Command::new("bash")
            .args(["-c", "kill -\"$1\" \"$2\"", "kill", signal, &pid])
            .status();
        assert!(status.expect("bash runs").success(), "kill -{signal} {pid}");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for(&format!("{} ends", self.name), || {
            self.alive();
            self.status
        })
    }

    /// Waits for a successful end.
    pub fn succeeded(&mut self) {
        let status = self.ended();
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.name,
            tail(&self.log())
        );
    }

    /// Waits for the end and reads the report: the last line of the output.
    pub fn report(&mut self) -> (ExitStatus, Value) {
        let status = self.ended();
        let text = fs::read_to_string(&self.stdout).unwrap_or_default();
        let line = text.lines().last().unwrap_or_default();
        let report = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!(
                "{}: {status}, no report ({error})\n{}",
                self.name,
                tail(&self.log())
            )
        });
        (status, report)
    }

    /// The address it said behind a text.
    pub fn address(&mut self, of: &str) -> String {
        self.said(&format!("the address of its {of}"), |line| {
            let (_, rest) = line.split_once(&format!("{of} address="))?;
            Some(rest.trim().to_owned())
        })
    }

    /// One of the job's operations pages, such as `/metrics`.
    pub fn page(&mut self, path: &str) -> String {
        let address = self.address("operations pages");
        ask(&address, &format!("GET {path}"), "", "")
    }

    /// As [`Running::page`], of a page of JSON: its status and what it says.
    pub fn told(&mut self, path: &str) -> (u16, Value) {
        told(&self.page(path))
    }

    /// The sum of a metric over its labels.
    pub fn metric(&mut self, name: &str) -> f64 {
        let page = self.page("/metrics");
        page.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The first line of its output so far that `found` makes something of.
    pub fn said<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        wait_for(what, || {
            let said = self.log().lines().find_map(&found);
            assert!(
                said.is_some() || self.alive(),
                "{} ended before: {what}\n{}",
                self.name,
                tail(&self.log())
            );
            said
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let alive = self.alive();
        self.kill();
        if std::thread::panicking() {
            let state = if alive {
                "was running".to_owned()
            } else {
                format!("{:?}", self.status)
            };
            eprintln!(
                "-- {} ({state}), end of its log:\n{}",
                self.name,
                tail(&self.log())
            );
        }
    }
}

/// The reader of a child's log: copies it to the log file until it stops or goes.
#[derive(Debug)]
pub struct LogReader {
    reading: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
}

impl LogReader {
    /// A reader that writes `name`'s log file in `folder`, and what the child writes to.
    pub fn start(name: &str, folder: &Path) -> (Self, Stdio) {
        let (mut from, to) = std::io::pipe().expect("a pipe");
        let mut file = File::create(folder.join(format!("{name}.log"))).expect("a log file");
        let reader = Self {
            reading: Arc::new(AtomicBool::new(true)),
            gone: Arc::default(),
        };
        let (reading, gone) = (Arc::clone(&reader.reading), Arc::clone(&reader.gone));
        std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            while !gone.load(Ordering::Relaxed) {
                if !reading.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    continue;
                }
                match from.read(&mut bytes) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => file.write_all(&bytes[..read]).expect("a log file"),
                }
            }
        });
        (reader, to.into())
    }

    /// Stops reading without closing anything: the pipe becomes full. `true` goes on.
    pub fn read(&self, on: bool) {
        self.reading.store(on, Ordering::Relaxed);
    }

    /// Closes the reading end, at the latest after the next bytes.
    pub fn go(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        // Reads to the end of the log, which comes with the child's.
        self.read(true);
    }
}

/// One request by hand, such as `GET /status`: the whole answer.
pub fn ask(address: &str, request: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it is served");
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// The status and the JSON of an answer.
pub fn told(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (status.expect("a status"), body)
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}
