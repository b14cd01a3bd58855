//! A headless Chromium, driven by the WebDriver protocol through its own driver.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::wait_for;

/// A browser with one window. Dropped, it ends.
pub struct Browser {
    driver: Child,
    /// Where the driver listens.
    address: String,
    /// The path of the session.
    session: String,
    /// Has the browser's data; gone with it.
    profile_folder: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let said = profile.path().join("driver.log");
        let driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "chromedriver", "--port=0"])
            .stdin(Stdio::null())
            .stdout(File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv starts chromedriver");
        let address = wait_for(
            "chromedriver listens; scripts/test installs it (Debian: chromium, chromium-driver)",
            || {
                let text = std::fs::read_to_string(&said).ok()?;
                let (_, rest) = text.split_once("started successfully on port ")?;
                Some(format!("127.0.0.1:{}", rest.split('.').next()?))
            },
        );
        let mut browser = Self {
            driver,
            address,
            session: "/session".to_owned(),
            profile_folder: profile,
        };
        let profile = browser.profile_folder.path().join("profile");
        let folder = format!("--user-data-dir={}", profile.display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            &*folder,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let begun = browser.call("POST", "", &wanted);
        let id = begun["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{id}");
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let request = format!("{method} {}{path}", self.session);
        let (status, answer) = exchanged(&self.address, &request, &body);
        assert!(status.contains(" 200 "), "{request}: {status}: {answer:#}");
        answer["value"].clone()
    }

    fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", "/goog/cdp/execute", &body)
    }

    pub fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// What a function's body returns.
    pub fn run(&self, script: &str, args: &[Value]) -> Value {
        let body = json!({ "script": script, "args": args });
        self.call("POST", "/execute/sync", &body)
    }

    /// Waits until a function's body returns something that is neither null nor false.
    #[track_caller]
    pub fn until(&self, what: &str, script: &str, args: &[Value]) -> Value {
        wait_for(what, || {
            let found = self.run(script, args);
            (!found.is_null() && found != false).then_some(found)
        })
    }

    /// Waits until a text is shown somewhere.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let script = "return document.body.innerText.includes(arguments[0])";
        self.until(&format!("the page shows {text:?}"), script, &[json!(text)]);
    }

    /// Clicks the first button or link with this label: in the dialog if one is open, else behind the text `near`.
    #[track_caller]
    pub fn click(&self, near: &str, label: &str) {
        let script = "
            const root = document.querySelector('dialog[open]') ?? document.querySelector('body');
            const inside = root.tagName === 'DIALOG' || !arguments[0] ? root
                : [...root.querySelectorAll('.card, li, .column')].filter((node) => node.textContent.includes(arguments[0])).at(-1);
            const found = [...(inside?.querySelectorAll('button, a, summary') ?? [])]
                .find((node) => node.textContent.trim() === arguments[1] && !node.disabled);
            found?.click();
            return Boolean(found);";
        let what = format!("{label:?} near {near:?} can be clicked");
        self.until(&what, script, &[json!(near), json!(label)]);
    }

    /// Fills the field of this name.
    #[track_caller]
    pub fn fill(&self, name: &str, value: &str) {
        let script = "
            const field = document.querySelector(`[name='${arguments[0]}']`);
            if (!field) return false;
            field.focus();
            field.value = arguments[1];
            field.dispatchEvent(new Event('input', { bubbles: true }));
            return true;";
        let what = format!("there is a field {name}");
        self.until(&what, script, &[json!(name), json!(value)]);
    }

    pub fn dialog_is_closed(&self) {
        let script = "return !document.querySelector('dialog[open]')";
        self.until("the dialog is closed", script, &[]);
    }

    /// A width of the window, and light or dark.
    pub fn look(&self, width: u32, theme: &str) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", scheme);
    }

    /// Writes what the page looks like; the width it really needs.
    pub fn picture(&self, file: &Path, width: u32) -> u64 {
        let size = self.run(
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]",
            &[],
        );
        let height = size[1].as_u64().unwrap().clamp(900, 3000);
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.devtools("Page.captureScreenshot", wanted);
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(taken["data"].as_str().unwrap())
            .unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
        size[0].as_u64().unwrap()
    }

    /// What the console was told as a warning or an error since the last time.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = lines.as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING")
            .map(ToString::to_string)
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.session != "/session" && !std::thread::panicking() {
            self.call("DELETE", "", &Value::Null);
        }
        // It takes a browser that is left with it.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// One request: the line of the status, and the JSON. The driver keeps a connection open, so the length says where an answer ends.
fn exchanged(address: &str, request: &str, body: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(address).expect("the driver listens");
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("asked");
    let mut answer = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        answer.read_line(&mut line).expect("a line of the answer");
        line.trim_end().to_owned()
    };
    let status = line();
    let mut length = 0;
    loop {
        let header = line().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(text) = header.strip_prefix("content-length:") {
            length = text.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).expect("the whole answer");
    let value = serde_json::from_slice(&body).expect("JSON");
    (status, value)
}
