//! OAUTHBEARER against a real broker: tokens of an identity provider on this machine, whose keys the broker fetches; and a password
//! that changes under a running job.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use crate::support::{broker::Broker, world::World};

const SECRET: &str = "the-client-secret";
const ISSUER: &str = "http://issuer.example";

/// What the provider was asked and what it gave.
#[derive(Default)]
struct Seen {
    tokens: Vec<String>,
    refused: usize,
}

/// An identity provider: a token endpoint (client credentials) and its keys. It serves until the process ends.
struct Provider {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Provider {
    /// Tokens live for so long.
    fn start(life: Duration) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .and_then(|pkcs8| {
                let key = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    pkcs8.as_ref(),
                    &random,
                );
                key.map_err(|_| ring::error::Unspecified)
            })
            .expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own affair.
                let _ = serve(stream, &key, life, &told);
            }
        });
        Self { address, seen }
    }

    fn tokens(&self) -> Vec<String> {
        self.seen.lock().expect("whole").tokens.clone()
    }
}

fn serve(
    mut stream: TcpStream,
    key: &EcdsaKeyPair,
    life: Duration,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = if head.starts_with("GET /keys") {
        (200, keys(key))
    } else {
        let basic = STANDARD.encode(format!("carrier:{SECRET}"));
        let form = String::from_utf8_lossy(&body).into_owned();
        let known = head.contains(&format!("Basic {basic}"));
        let mut seen = seen.lock().expect("whole");
        if known
            && form.contains("grant_type=client_credentials")
            && form.contains("scope=kafka&audience=brokers")
        {
            let token = token(key, life);
            seen.tokens.push(token.clone());
            let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": life.as_secs()});
            (200, answer.to_string())
        } else {
            seen.refused += 1;
            (401, json!({"error": "invalid_client"}).to_string())
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// The provider's keys (RFC 7517).
fn keys(key: &EcdsaKeyPair) -> String {
    // An uncompressed point: 4, x, y.
    let point = key.public_key().as_ref();
    let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": part(1), "y": part(33),
    }]})
    .to_string()
}

/// A JSON web token (RFC 7519), signed by ES256.
fn token(key: &EcdsaKeyPair, life: Duration) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let head = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
    let claims = json!({
        "iss": ISSUER, "aud": "brokers", "sub": "carrier", "scope": "kafka",
        "iat": now.as_secs(), "exp": (now + life).as_secs(),
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&head), part(&claims));
    let signature = key
        .sign(&SystemRandom::new(), text.as_bytes())
        .expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A broker that takes the provider's tokens on its SASL listener.
fn broker(provider: &Provider) -> Broker {
    let listener = "listener.name.sasl_plaintext.oauthbearer.sasl";
    let class = "org.apache.kafka.common.security.oauthbearer";
    let keys = format!("http://{}/keys", provider.address);
    let properties = [
        "sasl.enabled.mechanisms=OAUTHBEARER,PLAIN,SCRAM-SHA-512".to_owned(),
        format!("{listener}.jaas.config={class}.OAuthBearerLoginModule required;"),
        format!(
            "{listener}.server.callback.handler.class={class}.OAuthBearerValidatorCallbackHandler"
        ),
        format!("{listener}.oauthbearer.jwks.endpoint.url={keys}"),
        format!("{listener}.oauthbearer.expected.issuer={ISSUER}"),
        format!("{listener}.oauthbearer.expected.audience=brokers"),
        // Connections prove themselves again with the next token.
        "connections.max.reauth.ms=60000".to_owned(),
    ];
    // The broker asks only the servers that it is told to trust.
    let options = format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}");
    Broker::trusting(&properties, &options)
}

fn ways(world: &mut World<'_>, broker: &Broker, provider: &Provider) {
    let listener = broker.listener("sasl_plaintext");
    let address = listener
        .iter()
        .find(|(key, _)| key == "kafka.brokers")
        .expect("an address");
    let secret = world.file("client-secret", SECRET).display().to_string();
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    world.by_way_of(&[
        address.clone(),
        set("kafka.security_protocol", "sasl_plaintext"),
        set("kafka.sasl_mechanism", "OAUTHBEARER"),
        set(
            "kafka.oauth.token_url",
            &format!("http://{}/token", provider.address),
        ),
        set("kafka.oauth.client_id", "carrier"),
        set("kafka.oauth.client_secret_file", &secret),
        set("kafka.oauth.scope", "kafka"),
        set("kafka.oauth.audience", "brokers"),
    ]);
}

/// The whole job by tokens that live for seconds: load, job and judgement, with renewals in between; no token and no secret shows,
/// however much is logged (C1). Asked for of peers again and again (vector#1516, connect#2430).
#[test]
fn the_whole_job_by_tokens_that_are_renewed() {
    let provider = Provider::start(Duration::from_secs(8));
    let broker = broker(&provider);
    let mut world = World::new(&broker, 3, &[("log.level", "\"debug\"")]);
    ways(&mut world, &broker, &provider);
    world.join();
    world.produced(2_000, &[]);
    world.drained();
    let before = provider.tokens().len();
    world.until("tokens were renewed", |_| {
        provider.tokens().len() >= before + 3
    });
    // Connections that are made now need a token that lives now.
    broker.restart();
    world.produced(2_000, &[]);
    world.drained();
    let log = world.instances[0].log();
    for token in provider.tokens() {
        assert!(!log.contains(&token), "a token is in the log");
    }
    assert!(!log.contains(SECRET), "the secret is in the log");
    assert_eq!(provider.seen.lock().expect("whole").refused, 0);
    world.finish(2_000);
}

/// The provider refuses the client: the log says so, and what to check; once the secret is right the job gets in by itself.
#[test]
fn a_secret_that_the_provider_refuses_is_named_and_can_be_corrected() {
    let provider = Provider::start(Duration::from_secs(300));
    let broker = broker(&provider);
    let mut world = World::new(&broker, 1, &[]);
    ways(&mut world, &broker, &provider);
    world.file("client-secret", "not-the-secret");
    let mut instance = world.start();
    instance.said("who refuses", |line| {
        (line.contains("the token endpoint answered 401 invalid_client")
            && line.contains("[kafka]"))
        .then_some(())
    });
    world.file("client-secret", SECRET);
    world.instances.push(instance);
    world.produced(500, &[]);
    let log = world.instances[0].log();
    assert!(!log.contains("not-the-secret"), "{log}");
    world.finish(0);
}

/// The password is changed at the broker and in its file: connections that are made after that use the new one, and the job goes on.
#[test]
fn a_password_that_changes_is_read_again() {
    let broker = Broker::start_secured("sasl_plaintext");
    let settings = broker.listener("sasl_plaintext");
    let given = settings
        .iter()
        .find(|(key, _)| key == "kafka.sasl_password_file")
        .map(|(_, file)| std::fs::read_to_string(file).expect("a password"))
        .expect("a file");
    let mut world = World::new(&broker, 2, &[]);
    let file = world.file("kafka-password", given.trim());
    let mut ways = settings.clone();
    ways.retain(|(key, _)| key != "kafka.sasl_password_file" && key != "kafka.sasl_mechanism");
    ways.push((
        "kafka.sasl_password_file".to_owned(),
        file.display().to_string(),
    ));
    ways.push((
        "kafka.sasl_mechanism".to_owned(),
        "SCRAM-SHA-512".to_owned(),
    ));
    world.by_way_of(&ways);
    world.join();
    world.produced(1_000, &[]);
    world.drained();
    broker.change_password("carrier", "another-password");
    world.file("kafka-password", "another-password");
    world.instances[0].said("that the password changed", |line| {
        line.contains("has another password").then_some(())
    });
    // Every connection is made anew.
    broker.restart();
    world.produced(1_000, &[]);
    world.drained();
    let log = world.instances[0].log();
    assert!(!log.contains("another-password"), "{log}");
    world.finish(1_000);
}
