//! Schema registries for tests: a real one, run by `scripts/registry`, and one in this process that answers as it is told.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use super::root;

/// An Apicurio Registry of one's own; dropping it ends it.
pub struct Real {
    instance: String,
    address: String,
}

impl Real {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut real = Self {
            instance: format!("it-{}-{number}", std::process::id()),
            address: String::new(),
        };
        real.revive();
        real
    }

    /// Starts it, again on its port and schemas after [`Real::kill`].
    pub fn revive(&mut self) {
        let owner = std::process::id().to_string();
        let line = self.script("start", &["--owner", &owner]);
        let address = line.split_whitespace().nth(2);
        self.address = address.expect("the address is printed").to_owned();
    }

    pub fn kill(&self) {
        self.script("kill", &[]);
    }

    pub fn url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.address)
    }

    fn script(&self, command: &str, args: &[&str]) -> String {
        let output = Command::new(root().join("scripts/registry"))
            .args([command, "--instance", &self.instance])
            .args(args)
            .output()
            .expect("scripts/registry runs");
        assert!(
            output.status.success(),
            "scripts/registry {command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.script("kill", &["--delete"]);
    }
}

/// An answer of a [`Mock`].
#[derive(Debug, Clone)]
pub enum Reply {
    Said {
        status: u16,
        headers: String,
        body: String,
    },
    /// The question is taken and never answered.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(
            status,
            "application/vnd.schemaregistry.v1+json",
            &body.to_string(),
        )
    }

    pub fn text(status: u16, kind: &str, body: &str) -> Self {
        Self::Said {
            status,
            headers: format!("Content-Type: {kind}\r\n"),
            body: body.to_owned(),
        }
    }

    /// What a registry says of a schema that it does not know.
    pub fn unknown() -> Self {
        let body = json!({ "error_code": 40403, "message": "Schema not found" });
        Self::json(404, &body)
    }
}

/// A question: method, path, the `Authorization` header, the body.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

type Answers = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// A registry in this process.
pub struct Mock {
    address: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Mock {
    pub fn start(answers: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mock = Self {
            address: listener.local_addr().expect("an address").to_string(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&mock.answers), Arc::clone(&mock.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                std::thread::spawn(move || {
                    // A client that goes away is no failure of the test.
                    let _ = serve(stream, &answers, &asked);
                });
            }
        });
        mock
    }

    /// One that takes schemas and gives them back.
    pub fn working() -> Self {
        Self::start(keeping())
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answers: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    /// Gives back what it answered with before.
    pub fn swap(&self, answers: Answers) -> Answers {
        std::mem::replace(&mut *self.answers.lock().unwrap(), answers)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Registers and returns schemas as a registry does.
fn keeping() -> impl FnMut(&Asked) -> Reply + Send {
    let mut schemas: Vec<Value> = Vec::new();
    let mut subjects: HashMap<String, usize> = HashMap::new();
    move |asked| {
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        match parts[..] {
            ["schemas", "types"] => Reply::json(200, &json!(["AVRO", "PROTOBUF"])),
            ["schemas", "ids", id] => {
                let at = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
                match at.and_then(|at| schemas.get(at)) {
                    Some(schema) => Reply::json(200, schema),
                    None => Reply::unknown(),
                }
            }
            ["subjects", subject, "versions"] if asked.method == "POST" => {
                schemas.push(serde_json::from_str(&asked.body).expect("JSON"));
                subjects.insert(subject.to_owned(), schemas.len());
                Reply::json(200, &json!({ "id": schemas.len() }))
            }
            ["subjects", subject, "versions", "latest"] => match subjects.get(subject) {
                Some(id) => {
                    let mut schema = schemas[id - 1].clone();
                    schema["id"] = json!(id);
                    Reply::json(200, &schema)
                }
                None => Reply::json(
                    404,
                    &json!({ "error_code": 40401, "message": "no subject" }),
                ),
            },
            _ => Reply::json(
                404,
                &json!({ "error_code": 404, "message": "no such path" }),
            ),
        }
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &Mutex<Answers>,
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let asked = Asked {
            method,
            path,
            authorization,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        seen.lock().unwrap().push(asked.clone());
        let reply = (answers.lock().unwrap())(&asked);
        match reply {
            Reply::Said {
                status,
                headers,
                body,
            } => {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
                )?;
            }
            Reply::Silence => {
                // Until the client gives up.
                let _ = reader.read_line(&mut String::new());
                return Ok(());
            }
        }
    }
}
