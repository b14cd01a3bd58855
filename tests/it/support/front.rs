//! A front of the simulated gateway: what stands between a job and its gateway, with certificates and answers of its own.

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Between two pieces of an answer without an end.
const PIECE: Duration = Duration::from_millis(5);

/// An answer to one `POST /records`, byte by byte.
#[derive(Debug)]
pub struct Odd {
    /// Whether the gateway gets the request before.
    pub taken: bool,
    pub bytes: Vec<u8>,
    /// Written behind it until the client has gone.
    pub endless: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// `None`: plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    odd: VecDeque<Odd>,
}

/// See the module's documentation. Every answer ends its connection.
pub struct Front {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Front {
    /// Listens, and leads to the gateway.
    pub fn open(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        // Ends with the process: a client may come at any time.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let tls = shared.lock().unwrap().tls.clone();
                    match tls {
                        None => answer(client, gateway, &shared),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).expect("a connection");
                            let mut stream = StreamOwned::new(connection, client);
                            answer(&mut stream, gateway, &shared)?;
                            stream.conn.send_close_notify();
                            stream.flush().ok()
                        }
                    }
                });
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Shows this certificate on every connection from now on.
    pub fn show(&self, certificate: &Arc<ServerConfig>) {
        self.state.lock().unwrap().tls = Some(Arc::clone(certificate));
    }

    /// Gives this answer to the next `POST /records`.
    pub fn answer_next(&self, odd: Odd) {
        self.state.lock().unwrap().odd.push_back(odd);
    }

    /// Whether every such answer was given.
    pub fn gave_all(&self) -> bool {
        self.state.lock().unwrap().odd.is_empty()
    }
}

/// Answers one request; none if the connection breaks.
fn answer(mut client: impl Read + Write, gateway: SocketAddr, state: &Mutex<State>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    let posts = text.starts_with("post /records");
    let odd = posts
        .then(|| state.lock().unwrap().odd.pop_front())
        .flatten();
    let mut given = Vec::new();
    if odd.as_ref().is_none_or(|odd| odd.taken) {
        let line = head.iter().position(|byte| *byte == b'\n')? + 1;
        let mut upstream = TcpStream::connect(gateway).ok()?;
        for part in [
            &head[..line],
            b"Connection: close\r\n",
            &head[line..],
            &body,
        ] {
            upstream.write_all(part).ok()?;
        }
        upstream.read_to_end(&mut given).ok()?;
    }
    let Some(odd) = odd else {
        client.write_all(&given).ok()?;
        return client.flush().ok();
    };
    client.write_all(&odd.bytes).ok()?;
    client.flush().ok()?;
    while !odd.endless.is_empty() {
        client.write_all(&odd.endless).ok()?;
        client.flush().ok()?;
        thread::sleep(PIECE);
    }
    Some(())
}

/// An authority of certificates, made with `openssl`.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn make(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("a folder");
        let authority = Self { folder };
        authority.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE -keyout ca.key \
             -out ca.pem",
        );
        authority
    }

    /// The file that clients trust.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate of this machine's loopback that ends after so many days.
    pub fn certificate(&self, days: i32) -> Arc<ServerConfig> {
        fs::write(
            self.folder.join("server.ext"),
            "subjectAltName=IP:127.0.0.1\n",
        )
        .expect("a file");
        self.openssl(
            "req -newkey rsa:2048 -nodes -subj /CN=gateway -keyout server.key -out server.csr",
        );
        self.openssl(&format!(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile server.ext -out server.crt"
        ));
        let place = |name: &str| self.folder.join(name);
        let chain = CertificateDer::from_pem_file(place("server.crt")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(place("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("a certificate and its key");
        Arc::new(server)
    }

    fn openssl(&self, args: &str) {
        let done = Command::new("openssl")
            .args(args.split_whitespace())
            .current_dir(Path::new(&self.folder))
            .output()
            .expect("openssl runs");
        assert!(
            done.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}
