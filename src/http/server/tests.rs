//! Tests of the server's bounds, on real connections.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn limits() -> Limits {
    Limits {
        name: "test",
        connections: 4,
        header: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        head_bytes: 8 * 1024,
        farewell: Duration::from_millis(50),
    }
}

async fn started(router: Router, limits: Limits) -> (Server, SocketAddr) {
    let address = "127.0.0.1:0".parse().unwrap();
    let (listener, address) = listen("test.listen", address).await.unwrap();
    (serve(listener, router, limits, |_| ()), address)
}

fn pages() -> Router {
    Router::new()
        .route("/", get(async || "here"))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("a page broke") }),
        )
        .route("/echo", post(async |body: String| body))
        .route("/never", get(async || std::future::pending::<&str>().await))
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits for the end of a connection; what came before it.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn many_half_open_connections_keep_nobody_out() {
    let (server, address) = started(pages(), limits()).await;
    let mut open = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        }
        open.push(stream);
    }
    assert!(ask(address, "/").await.ends_with("here"));
    // The oldest were closed for younger ones.
    assert_eq!(rest(&mut open[0]).await, b"");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_not_closed_for_another() {
    let router = pages();
    let (server, address) = started(router, limits()).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head =
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab";
    slow.write_all(head).await.unwrap();
    // Its request is read before later connections come.
    assert!(ask(address, "/").await.ends_with("here"));
    for _ in 0..20 {
        assert!(ask(address, "/").await.ends_with("here"));
    }
    slow.write_all(b"cd").await.unwrap();
    let answer = String::from_utf8(rest(&mut slow).await).unwrap();
    assert!(answer.ends_with("abcd"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_is_not_completed_ends_its_connection() {
    let quick = Limits {
        header: Duration::from_millis(20),
        ..limits()
    };
    let (server, address) = started(pages(), quick).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    rest(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_ends_before_and_after_a_request() {
    let quick = Limits {
        idle: Duration::from_millis(20),
        ..limits()
    };
    let (server, address) = started(pages(), quick).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(rest(&mut silent).await, b"");
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = String::from_utf8(rest(&mut kept).await).unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_no_answer_ends_its_connection() {
    let quick = Limits {
        idle: Duration::from_millis(50),
        ..limits()
    };
    let large = Router::new().route("/", get(async || vec![b'x'; 64 * 1024 * 1024]));
    let (server, address) = started(large, quick).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    // Nothing is read until the server has given up: then less than all of it is there.
    while server_has_open(&server, address).await {}
    assert!(rest(&mut stream).await.len() < 64 * 1024 * 1024);
    server.stop().await;
}

/// Whether the kernel still has a connection to the server's port whose answer is being written.
async fn server_has_open(_: &Server, address: SocketAddr) -> bool {
    tokio::task::yield_now().await;
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Established (01), with the server's port as its own.
        fields[1].ends_with(&port) && fields[3] == "01"
    })
}

#[tokio::test]
async fn a_page_that_panics_answers_500_and_the_next_one_is_served() {
    let (server, address) = started(pages(), limits()).await;
    assert!(ask(address, "/panic").await.starts_with("HTTP/1.1 500"));
    assert!(ask(address, "/").await.ends_with("here"));
    server.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_nobody_for_ever() {
    let (server, address) = started(pages(), limits()).await;
    let mut never = TcpStream::connect(address).await.unwrap();
    never
        .write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let _half_open = TcpStream::connect(address).await.unwrap();
    assert!(ask(address, "/").await.ends_with("here"));
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (server, address) = started(pages(), limits()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    // The server may refuse before everything is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    server.stop().await;
}
