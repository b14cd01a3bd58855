//! Secrets and hostile text in what others send, log and answer (C1).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use dig_ingest::config::Settings;
use dig_ingest::orders::store::{Config, Store};

use crate::support::broker::{Broker, block_on};
use crate::support::child::{Launch, Running};
use crate::support::wait_until;
use crate::support::world::World;

/// One canary for every secret there is.
const PASSWORD: &str = "Canary-d1g&pass/w\u{f6}rd";
const MYADMIN: &str = "Canary-my\"admin%pass";
const KAFKA: &str = "Canary-kafka-pass";
const PROPERTY: &str = "Canary-property-pass";
const TOKEN: &str = "Canary-api-token";
const BEARER: &str = "Canary.bearer.of-the-session";
const REFRESH: &str = "Canary.refresh.of-the-session";

/// A gateway, or what stands before it, that answers with all it was sent: headers and body, in several ways of writing them.
struct Echo {
    address: SocketAddr,
    /// Whether it lets us in and refuses records, rather than refusing the login.
    open: Arc<Mutex<bool>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let echo = Self {
            address: listener.local_addr().expect("an address"),
            open: Arc::default(),
            asked: Arc::default(),
        };
        let (open, asked) = (Arc::clone(&echo.open), Arc::clone(&echo.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (open, asked) = (Arc::clone(&open), Arc::clone(&asked));
                std::thread::spawn(move || serve(stream, &open, &asked));
            }
        });
        echo
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|line| line.contains(path)).count()
    }
}

fn serve(mut stream: TcpStream, open: &Mutex<bool>, asked: &Mutex<Vec<String>>) {
    let mut from = BufReader::new(stream.try_clone().expect("a second hand"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if from.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head
            .lines()
            .filter_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .next()
            .unwrap_or(0);
        let mut body = vec![0; length];
        if from.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let (status, answer) = answer(&head, &body, *open.lock().unwrap());
        asked
            .lock()
            .unwrap()
            .push(head.lines().next().unwrap_or_default().to_owned());
        let written = write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if written.is_err() {
            return;
        }
    }
}

fn answer(head: &str, body: &str, open: bool) -> (u16, String) {
    let line = head.lines().next().unwrap_or_default();
    if open && line.contains("authenticat") {
        let pair = serde_json::json!({ "Data": {
            "Authenticated": true,
            "BearerToken": { "TokenString": BEARER },
            "RefreshToken": { "TokenString": REFRESH },
        }});
        return (200, pair.to_string());
    }
    // The request, decoded and within quotes, so that every way of writing a secret is in it; and what else a hostile answer holds.
    let decoded = percent_decoded(body);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("carrier:{PASSWORD}"));
    let echo = format!(
        "\u{1b}[31mred\u{202e}evil\r\n2026-01-01T00:00:00Z ERROR forged: blocked {head} {body} {decoded} {} {decoded:?} Basic {basic}",
        serde_json::json!({ "request": decoded })
    );
    let status = if line.contains("/records") { 400 } else { 403 };
    (status, echo)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = std::str::from_utf8(after.get(..2).unwrap_or_default()).unwrap_or_default();
        match (first, u8::from_str_radix(code, 16)) {
            (b'%', Ok(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// No secret in any way of writing it, and no character that a terminal would apply.
#[track_caller]
fn clean(place: &str, text: &str) {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("carrier:{PASSWORD}"));
    // What is left of a secret however it is written, the parts without special characters included.
    let parts = [
        "Canary",
        "d1g",
        "admin%pass",
        "admin%25pass",
        "kafka-pass",
        "property-pass",
        "api-token",
        ".of-the-session",
        &basic[12..28],
    ];
    for part in parts {
        assert!(!text.contains(part), "{place} holds {part}:\n{text}");
    }
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t' && c != '\r')
            || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    assert!(
        !text.contains(hidden),
        "{place} holds a control character:\n{text:?}"
    );
}

/// A gateway that echoes what it was sent, as firewalls and debugging proxies do, gets the password, the tokens and a record; none
/// of them is in the log at level trace, in `/status`, `/readyz`, `/metrics`, in a letter or on the terminal of `check`. Reported of
/// others as CWE-532; CVE-2025-58160 (escape sequences in logs of tracing-subscriber).
#[test]
fn a_gateway_that_echoes_what_it_was_sent_shows_no_secret_anywhere() {
    let echo = Echo::start();
    let mut world = World::new(
        Broker::shared(),
        1,
        &[
            ("log.level", "\"trace\""),
            ("log.repeat_s", "0"),
            ("dig.auth_calls_per_minute", "6000.0"),
            ("dig.denied_probe_ms", "100"),
            ("guard.share", "1.0"),
            ("kafka.sasl_password", &format!("{KAFKA:?}")),
            (
                "kafka.properties",
                &format!("{{ \"ssl.key.password\" = {PROPERTY:?} }}"),
            ),
            ("orders.web.token", &format!("{TOKEN:?}")),
            ("dig.url", &format!("{:?}", echo.url())),
        ],
    );
    let file = world.file("canary", PASSWORD);
    world.set(
        "dig.password_file",
        &format!("{:?}", file.to_string_lossy()),
    );
    let mut instance = world.start();
    wait_until("logins were refused", || echo.asked("authenticat") >= 2);
    clean("readyz", &instance.page("/readyz"));
    *echo.open.lock().unwrap() = true;
    world.produced(20, &["--devices", "4"]);
    wait_until("every record is in a letter", || {
        world.letters().len() >= 20
    });
    for page in ["/status", "/readyz", "/livez", "/metrics"] {
        clean(page, &instance.page(page));
    }
    instance.signal("TERM");
    instance.succeeded();
    let log = instance.log();
    assert!(
        log.contains("[redacted]") && log.contains("forged"),
        "{log}"
    );
    clean("the log", &log);
    assert!(
        !log.lines()
            .any(|line| line.starts_with("2026-01-01T00:00:00Z")),
        "a forged line: {log}"
    );
    for letter in world.letters() {
        let headers = format!("{:?}", letter.headers);
        assert!(headers.contains("[redacted]"), "{headers}");
        for (name, value) in &letter.headers {
            clean(name, value);
        }
    }
    world.end();
}

/// The same on the terminal: `check --connect` against a gateway and a MyAdmin that echo.
#[test]
fn check_shows_no_secret_that_a_server_sent_back() {
    let echo = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let sets = [
        format!("dig.url={}", echo.url()),
        "dig.username=carrier".to_owned(),
        format!("myadmin.url={}", echo.url()),
        format!("myadmin.rest_url={}", echo.url()),
        "myadmin.username=carrier".to_owned(),
        "kafka.brokers=127.0.0.1:1".to_owned(),
    ];
    let mut args: Vec<String> = ["check", "--connect", "--timeout-s", "2", "--show"]
        .map(str::to_owned)
        .into();
    args.extend(
        sets.iter()
            .flat_map(|set| ["--set".to_owned(), set.clone()]),
    );
    let variables = [
        ("DIG_INGEST__DIG__PASSWORD", PASSWORD),
        ("DIG_INGEST__MYADMIN__PASSWORD", MYADMIN),
    ];
    for report in ["text", "json"] {
        let how = Launch {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Launch::default()
        };
        let args = [args.clone(), vec!["--report".to_owned(), report.to_owned()]].concat();
        let mut check = Running::launch(report, folder.path(), &args, how);
        assert!(!check.ended().success());
        let shown = check.log();
        assert!(
            shown.contains("[redacted]") && shown.contains("forged"),
            "{shown}"
        );
        clean(report, &shown);
    }
    assert!(echo.asked("authenticat") > 0);
}

/// Settings that cannot be read do not show what they hold: in a variable that is not valid TOML, in a file that breaks off anywhere.
#[test]
fn broken_settings_show_no_secret() {
    let properties = |text: &str| {
        let variable = ("DIG_INGEST__KAFKA__PROPERTIES".to_owned(), text.to_owned());
        Settings::load_from(None, [variable], &[])
    };
    let whole = r#"{ "ssl.key.password" = "S3CRET1", "ssl.key.pem" = 'S3CRET1' }"#;
    assert!(properties(whole).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    let file = "[dig]\npassword = \"S3CRET1\"\n[kafka.properties]\n\"ssl.key.password\" = 'S3CRET1'\nplain = S3CRET1\n";
    for end in 0..whole.len() {
        let shown =
            properties(&whole[..end]).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(!shown.contains("S3C"), "{shown}");
    }
    for end in 0..=file.len() {
        std::fs::write(&path, &file[..end]).unwrap();
        let shown = Settings::load_from(Some(&path), [], &[]).map_or_else(
            |error| error.to_string(),
            |settings| settings.redacted() + &format!("{:?}", settings.differing()),
        );
        assert!(!shown.contains("S3C"), "{shown}");
    }
    let error = properties(&whole[..whole.len() - 2])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("environment variable DIG_INGEST__KAFKA__PROPERTIES: kafka.properties: "),
        "{error}"
    );
}

fn mode(path: &Path) -> u32 {
    let found =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o777
}

/// The orders store, its journal, a copy of it and what is exported hold customers' names and phones: only their owner can read
/// them, whatever the umask.
#[test]
fn files_with_customers_names_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    block_on(async {
        let config = Config {
            file: file.clone(),
            ..Config::default()
        };
        let store = Store::init(&config).await.expect("a store");
        let copy = folder.path().join("orders.db.copy");
        store.backup(&config, &copy).await.expect("a copy");
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let path = entry.expect("a file").path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            files += 1;
        }
        assert!(files >= 2, "{files} files");
        store.close().await;
    });
    let to = folder.path().join("orders.csv");
    let args = [
        "orders",
        "export",
        "orders",
        "--to",
        &to.to_string_lossy(),
        "--set",
        &format!("orders.store.file={}", file.display()),
    ]
    .map(str::to_owned);
    Running::start("export", folder.path(), &args).succeeded();
    assert_eq!(mode(&to), 0o600);
}

/// A password in the list of processes, and one in a file that others can read: `check` and `run` say so, with a remedy.
#[test]
fn a_secret_that_others_can_read_is_told_of() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    let file = world.file("readable", "hunter2hunter2");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.set(
        "dig.password_file",
        &format!("{:?}", file.to_string_lossy()),
    );
    let config = world.settings_file("checked", &[]);
    let args = [
        "check",
        "--config",
        &config.to_string_lossy(),
        "--set",
        "myadmin.password=hunter3hunter3",
    ]
    .map(str::to_owned);
    let mut check = world.command("check", &args);
    check.succeeded();
    let mut instance = world.start();
    instance.address("operations pages");
    let said = check.log();
    assert!(
        said.contains("--set myadmin.password: every user"),
        "{said}"
    );
    for said in [said, instance.log()] {
        assert!(
            said.contains("dig.password_file: ") && said.contains("chmod 600"),
            "{said}"
        );
        assert!(!said.contains("hunter"), "{said}");
    }
    instance.kill();
    world.end();
}
