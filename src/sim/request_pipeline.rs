//! The way of every request through the simulator: what it asks, the faults on its way, the face that answers it.
//!
//! A request that waits (a delay, a stall, a lost answer) ends when the simulator stops or its client goes away; what it
//! had done to the world by then stays done.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::answers::{self, Answer};
use super::faults::{Action, CutAt, Loss};
use super::listener::{Connection, Peer};
use super::market::Thrown;
use super::operation::{Operation, Surface};
use super::scan::Scanned;
use super::settings::Settings;
use super::tap::{Exchange, Tap};
use super::world::World;
use super::{dig, myadmin, partner};

/// What every request sees.
pub struct Face {
    pub world: Arc<World>,
    pub tap: Tap,
    pub stopping: CancellationToken,
    /// Used buffers, so that a body costs no fresh memory. A lock, for requests of many connections return theirs here.
    buffers: Mutex<Vec<Buffer>>,
}

#[derive(Default)]
pub struct Buffer {
    pub body: Vec<u8>,
    pub records: Vec<Scanned>,
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

/// What a face makes of a request.
pub enum Done {
    Answer(Answer),
    /// The world itself loses the answer.
    Lost(Loss),
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
        if operation != Operation::MyAdmin {
            world.counters.request(operation);
        }
        Self {
            world,
            operation,
            present,
            ended: false,
        }
    }

    /// A MyAdmin call's body has come and tells what it is.
    fn named(&mut self, operation: Operation) {
        self.operation = operation;
        self.world.counters.request(operation);
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
        if self.operation == Operation::MyAdmin {
            self.world.counters.request(self.operation);
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
    let market = face.world.settings.get().market;
    let operation = operation(&parts, market);
    let number = face.world.begin();
    let mut presence = Presence::new(&face.world, operation);
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
        number,
        connection: connection.as_ref(),
    };
    let end = call
        .run(body, &mut presence, &mut buffer, &mut scripted)
        .await;
    let answer = match end {
        End::Answer(answer) => Some(answer),
        End::Cut => None,
    };
    if face.tap.on() {
        face.tap.add(exchange(
            &parts,
            presence.operation,
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

fn operation(parts: &Parts, market: bool) -> Operation {
    let path = parts.uri.path();
    if market {
        if myadmin::version(path).is_some() {
            return Operation::MyAdmin;
        }
        if let Some(operation) = partner::operation(&parts.method, path) {
            return operation;
        }
    }
    dig::operation(&parts.method, path)
}

/// A header's text.
pub fn text<'a>(parts: &'a Parts, name: &header::HeaderName) -> Option<&'a str> {
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

/// The token of `Authorization: Bearer`.
pub fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = text(parts, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// One request on its way.
struct Call<'a> {
    face: &'a Face,
    parts: &'a Parts,
    number: u64,
    connection: Option<&'a Arc<Connection>>,
}

impl Call<'_> {
    async fn run(
        &self,
        body: Body,
        presence: &mut Presence<'_>,
        buffer: &mut Buffer,
        scripted: &mut bool,
    ) -> End {
        let world = &*self.face.world;
        let mut body = body.into_data_stream();
        let early = world
            .faults()
            .early(presence.operation, world.clock.now_us());
        if let Some(plan) = early {
            *scripted = true;
            self.wait(plan.delay).await;
            if plan.action == Action::Cut(CutAt::DuringBody) {
                // A part of it, or its end.
                let _ = body.next().await;
            }
            return self.cut();
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
        let mut asked = None;
        if presence.operation == Operation::MyAdmin {
            let media = text(self.parts, &header::CONTENT_TYPE).unwrap_or("");
            let request = myadmin::Request::read(media, &buffer.body);
            presence.named(request.operation());
            asked = Some(request);
        }
        let operation = presence.operation;
        let plan = world
            .faults()
            .decide(operation, &buffer.body, world.clock.now_us());
        let mut read = None;
        let mut held = None;
        if settings.watch_overlap && operation == Operation::Records && length <= settings.max_bytes
        {
            let result = world.read(&mut buffer.body, &mut buffer.records);
            if let (Ok(()), Some(connection)) = (&result, self.connection) {
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
        let mut perform = || match operation.surface() {
            Surface::Dig => Done::Answer(dig::answer(
                &dig::Call {
                    world,
                    parts: self.parts,
                    operation,
                    settings: &settings,
                    number: self.number,
                    present: presence.present,
                    length,
                },
                buffer,
                read.take(),
            )),
            Surface::MyAdmin => self.ask_myadmin(asked.as_ref()),
            Surface::Partner => Done::Answer(self.ask_partner(operation, &buffer.body)),
        };
        match plan.action {
            Action::Pass => match perform() {
                Done::Answer(answer) => End::Answer(answer),
                Done::Lost(how) => self.lose(how).await,
            },
            Action::LoseAnswer(how) => {
                perform();
                self.lose(how).await
            }
            Action::Status {
                status,
                body,
                text,
                retry_after,
            } => End::Answer(answers::scripted(
                operation.surface(),
                status,
                body,
                text.as_deref(),
                retry_after,
                world.clock.now_us(),
                &settings,
            )),
            Action::Throw { name, text } => End::Answer(match operation.surface() {
                Surface::MyAdmin => myadmin::failure(&Thrown::new(&name, text), true),
                Surface::Partner => Answer::message(500, &text),
                Surface::Dig => Answer::error(500, &text, &settings),
            }),
            Action::Cut(_) => self.cut(),
            Action::Stall => self.silence().await,
        }
    }

    fn address(&self) -> String {
        self.connection
            .and_then(|connection| connection.peer())
            .map_or_else(String::new, |address| address.to_string())
    }

    fn ask_myadmin(&self, asked: Option<&myadmin::Request>) -> Done {
        let version = myadmin::version(self.parts.uri.path());
        match (version, asked) {
            (Some(version), Some(asked)) if self.parts.method == Method::POST => {
                myadmin::answer(&self.face.world, version, asked, &self.address())
            }
            _ => Done::Answer(Answer::page(405, "Method Not Allowed").allowing("POST")),
        }
    }

    fn ask_partner(&self, operation: Operation, body: &[u8]) -> Answer {
        let session = self.parts.headers.get("auth-sessionid");
        let call = partner::Call {
            method: &self.parts.method,
            path: self.parts.uri.path(),
            query: self.parts.uri.query().unwrap_or(""),
            session: session.and_then(|value| value.to_str().ok()),
            body,
            address: &self.address(),
        };
        partner::answer(&self.face.world, operation, &call)
    }

    fn cut(&self) -> End {
        self.face.world.counters.cut.fetch_add(1, Relaxed);
        End::Cut
    }

    async fn lose(&self, how: Loss) -> End {
        self.face.world.counters.lost_answers.fetch_add(1, Relaxed);
        match how {
            Loss::Cut => End::Cut,
            Loss::Silence => self.silence().await,
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
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
        response
    }
}
