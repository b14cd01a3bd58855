//! The gateway's HTTP face: the five operations over the [`World`], and the faults on their way. Decides nothing itself.
//!
//! A request that waits (a delay, a stall, a lost answer) ends when the simulator stops or its client goes away; what it
//! had done to the world by then stays done.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::answers::{self, Answer};
use super::faults::{Action, CutAt, Loss, Operation};
use super::listener::{Connection, Peer};
use super::scan::{Refusal, Scanned};
use super::settings::Settings;
use super::tap::{Exchange, Tap};
use super::world::World;

/// What every request sees.
pub struct Face {
    pub world: Arc<World>,
    pub tap: Tap,
    pub stopping: CancellationToken,
    /// Used buffers, so that a body costs no fresh memory. A lock, for requests of many connections return theirs here.
    buffers: Mutex<Vec<Buffer>>,
}

#[derive(Default)]
struct Buffer {
    body: Vec<u8>,
    records: Vec<Scanned>,
}

/// Idle buffers kept, and the largest worth keeping.
const IDLE_BUFFERS: usize = 32;
const LARGEST_BUFFER: usize = 16 << 20;

impl Face {
    #[must_use]
    pub fn new(world: Arc<World>) -> Self {
        Self {
            world,
            tap: Tap::default(),
            stopping: CancellationToken::new(),
            buffers: Mutex::default(),
        }
    }

    fn take(&self) -> Buffer {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn give_back(&self, buffer: Buffer) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < IDLE_BUFFERS && buffer.body.capacity() <= LARGEST_BUFFER {
            buffers.push(buffer);
        }
    }
}

/// How a request ends.
enum End {
    Answer(Answer),
    Cut,
}

/// Counts a request in, and out however it ends.
struct Presence<'a> {
    world: &'a World,
    operation: Operation,
    /// Requests to `/records` there when it came, itself included.
    present: u64,
    ended: bool,
}

impl<'a> Presence<'a> {
    fn new(world: &'a World, operation: Operation) -> Self {
        let mut present = 0;
        if operation == Operation::Records {
            present = world.counters.in_flight.fetch_add(1, Relaxed) + 1;
            world.counters.max_in_flight.fetch_max(present, Relaxed);
        }
        Self {
            world,
            operation,
            present,
            ended: false,
        }
    }

    fn end(mut self, status: u16) {
        self.ended = true;
        self.world.counters.answer(self.operation, status);
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if self.operation == Operation::Records {
            self.world.counters.in_flight.fetch_sub(1, Relaxed);
        }
        if !self.ended {
            self.world.counters.abandoned.fetch_add(1, Relaxed);
        }
        self.world.touch();
    }
}

/// Answers any request outside `/control`.
pub async fn answer(State(face): State<Arc<Face>>, request: Request) -> Response {
    let stopping = face.stopping.clone();
    tokio::select! {
        response = serve(&face, request) => response,
        () = stopping.cancelled() => {
            let mut response = Answer::error(503, "The simulator is stopping.", &Settings::default()).into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

async fn serve(face: &Face, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let operation = operation(&parts);
    let number = face.world.begin(operation);
    let presence = Presence::new(&face.world, operation);
    let connection = parts
        .extensions
        .get::<ConnectInfo<Peer>>()
        .map(|peer| peer.0.connection.clone());
    let mut buffer = face.take();
    buffer.body.clear();
    let mut scripted = false;
    let call = Call {
        face,
        parts: &parts,
        operation,
        number,
        present: presence.present,
    };
    let end = call
        .run(body, connection.as_ref(), &mut buffer, &mut scripted)
        .await;
    let answer = match end {
        End::Answer(answer) => Some(answer),
        End::Cut => None,
    };
    if face.tap.on() {
        face.tap.add(exchange(
            &parts,
            operation,
            &buffer.body,
            answer.as_ref(),
            scripted,
        ));
    }
    face.give_back(buffer);
    presence.end(answer.as_ref().map_or(0, |answer| answer.status));
    match answer {
        Some(answer) => answer.into_response(),
        None => {
            if let Some(connection) = connection {
                connection.cut();
            }
            Response::new(Body::empty())
        }
    }
}

fn operation(parts: &Parts) -> Operation {
    let path = parts.uri.path().to_ascii_lowercase();
    match (&parts.method, path.as_str()) {
        (&Method::POST, "/authentication/authenticate") => Operation::Authenticate,
        (&Method::POST, "/authentication/refresh-token") => Operation::RefreshToken,
        (&Method::POST, "/authentication/revoke-token") => Operation::RevokeToken,
        (&Method::POST, "/records") => Operation::Records,
        (&Method::GET, "/invalidrecords") => Operation::InvalidRecords,
        _ => Operation::Other,
    }
}

fn text<'a>(parts: &'a Parts, name: &header::HeaderName) -> Option<&'a str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

fn exchange(
    parts: &Parts,
    operation: Operation,
    body: &[u8],
    answer: Option<&Answer>,
    scripted: bool,
) -> Exchange {
    Exchange {
        operation,
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        content_type: text(parts, &header::CONTENT_TYPE).map(str::to_owned),
        bearer: bearer(parts).is_some(),
        request: Bytes::copy_from_slice(body),
        status: answer.map_or(0, |answer| answer.status),
        answer_type: answer.map_or_else(String::new, |answer| answer.content_type.to_owned()),
        answer: answer.map_or_else(Bytes::new, |answer| answer.body.clone()),
        scripted,
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = text(parts, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// One request on its way.
struct Call<'a> {
    face: &'a Face,
    parts: &'a Parts,
    operation: Operation,
    number: u64,
    present: u64,
}

impl Call<'_> {
    async fn run(
        &self,
        body: Body,
        connection: Option<&Arc<Connection>>,
        buffer: &mut Buffer,
        scripted: &mut bool,
    ) -> End {
        let world = &*self.face.world;
        let mut body = body.into_data_stream();
        let early = world.faults().early(self.operation, world.clock.now_us());
        if let Some(plan) = early {
            *scripted = true;
            self.wait(plan.delay).await;
            if plan.action == Action::Cut(CutAt::DuringBody) {
                // A part of it, or its end.
                let _ = body.next().await;
            }
            world.counters.cut.fetch_add(1, Relaxed);
            return End::Cut;
        }
        let settings = world.settings.get();
        let mut length = 0;
        while let Some(chunk) = body.next().await {
            let Ok(chunk) = chunk else { return End::Cut };
            length += chunk.len();
            // Beyond the limit the rest is only counted: a client that is still writing would miss the answer.
            if length <= settings.max_bytes {
                buffer.body.extend_from_slice(&chunk);
            }
        }
        world.counters.body(length);
        let plan = world
            .faults()
            .decide(self.operation, &buffer.body, world.clock.now_us());
        let mut read = None;
        let mut held = None;
        if settings.watch_overlap
            && self.operation == Operation::Records
            && length <= settings.max_bytes
        {
            let result = world.read(&mut buffer.body, &mut buffer.records);
            if let (Ok(()), Some(connection)) = (&result, connection) {
                held = Some(world.overlaps.hold(
                    self.number,
                    connection,
                    &buffer.body,
                    &buffer.records,
                ));
            }
            read = Some(result);
        }
        if let Some(held) = &held {
            world
                .counters
                .overlapping_serials
                .fetch_add(held.overlapping, Relaxed);
        }
        *scripted = plan.action != Action::Pass;
        self.wait(plan.delay).await;
        match plan.action {
            Action::Pass => End::Answer(self.perform(&settings, length, buffer, read)),
            Action::Status {
                status,
                body,
                text,
                retry_after,
            } => End::Answer(answers::scripted(
                status,
                body,
                text.as_deref(),
                retry_after,
                world.clock.now_us(),
                &settings,
            )),
            Action::Cut(_) => {
                world.counters.cut.fetch_add(1, Relaxed);
                End::Cut
            }
            Action::Stall => self.silence().await,
            Action::LoseAnswer(how) => {
                self.perform(&settings, length, buffer, read);
                world.counters.lost_answers.fetch_add(1, Relaxed);
                match how {
                    Loss::Cut => End::Cut,
                    Loss::Silence => self.silence().await,
                }
            }
        }
    }

    /// Nothing more comes; dropped, with the serials it holds, when the client gives up or the simulator stops.
    async fn silence(&self) -> End {
        self.face.world.touch();
        std::future::pending().await
    }

    async fn wait(&self, delay: std::time::Duration) {
        if !delay.is_zero() {
            self.face.world.touch();
            tokio::time::sleep(delay).await;
        }
    }

    /// What the gateway does by itself. Takes effect at once; nothing is awaited.
    fn perform(
        &self,
        settings: &Settings,
        length: usize,
        buffer: &mut Buffer,
        read: Option<Result<(), Refusal>>,
    ) -> Answer {
        match self.operation {
            Operation::Authenticate | Operation::RefreshToken | Operation::RevokeToken => {
                answers::authentication(&self.face.world, self.operation, &buffer.body, settings)
            }
            Operation::InvalidRecords => {
                let query = self.parts.uri.query().unwrap_or("");
                answers::invalid_records(&self.face.world, bearer(self.parts), query, settings)
            }
            Operation::Records => self
                .records(settings, length, buffer, read)
                .unwrap_or_else(|refused| refused),
            Operation::Other => {
                let known = [
                    "/authentication/authenticate",
                    "/authentication/refresh-token",
                    "/authentication/revoke-token",
                    "/records",
                    "/invalidrecords",
                ];
                let path = self.parts.uri.path().to_ascii_lowercase();
                if known.contains(&path.as_str()) {
                    Answer::error(405, "The method is not allowed.", settings)
                } else {
                    Answer::error(404, "There is no such resource.", settings)
                }
            }
        }
    }

    fn records(
        &self,
        settings: &Settings,
        length: usize,
        buffer: &mut Buffer,
        read: Option<Result<(), Refusal>>,
    ) -> Result<Answer, Answer> {
        let world = &*self.face.world;
        let refuse = |status, text: &str| Answer::error(status, text, settings);
        if text(self.parts, &header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            return Err(refuse(
                settings.encoding_status,
                "The content encoding is not supported.",
            ));
        }
        let user = answers::user(world, bearer(self.parts), settings)?;
        let media = text(self.parts, &header::CONTENT_TYPE).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(refuse(415, "The content type is not application/json."));
        }
        if length > settings.max_bytes {
            world.counters.refusal("too many bytes".to_owned());
            return Err(refuse(413, "The request is too large."));
        }
        if settings.throttle > 0 && self.present > u64::from(settings.throttle) {
            return Err(Answer::throttled(settings));
        }
        if let Err(refusal) =
            read.unwrap_or_else(|| world.read(&mut buffer.body, &mut buffer.records))
        {
            world.counters.refusal(reason(&refusal));
            let text = match (&refusal, settings.explain) {
                (_, true) => refusal.to_string(),
                (Refusal::TooMany(_), _) => "The request has too many records.".to_owned(),
                _ => "The request is missing parameters or has wrong ones.".to_owned(),
            };
            let status = if matches!(refusal, Refusal::TooMany(_)) {
                413
            } else {
                400
            };
            return Err(refuse(status, &text));
        }
        match world.accept(&user, self.number, &buffer.body, &mut buffer.records) {
            Ok(_) => Ok(Answer::tracking()),
            Err(record) => {
                world.counters.refusal("a poisonous record".to_owned());
                let text = if settings.explain {
                    String::from_utf8_lossy(record)
                } else {
                    "".into()
                };
                Err(refuse(
                    400,
                    format!("The request has a record that cannot be taken. {text}").trim_end(),
                ))
            }
        }
    }
}

/// A refusal without its place, so that refusals of one kind count together.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Malformed { reason, .. } => format!("not JSON: {reason}"),
        Refusal::Record { member, reason, .. } => format!("{member}: {reason}"),
        other => other.to_string(),
    }
}

impl Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.content_type),
            );
        }
        if let Some(value) = self
            .retry_after
            .and_then(|hint| HeaderValue::try_from(hint).ok())
        {
            headers.insert(header::RETRY_AFTER, value);
        }
        response
    }
}
