//! What stands in the gateway's place: answers that no gateway should give, and certificates that are not trusted any more (H1).

use crate::support::{
    broker::Broker,
    front::{Authority, Front, Odd},
    world::World,
};

use super::standing_still::{not_ready, ready, text};

fn odd(taken: bool, bytes: &str, endless: &str) -> Odd {
    Odd {
        taken,
        bytes: bytes.as_bytes().to_vec(),
        endless: endless.as_bytes().to_vec(),
    }
}

/// CVE-2019-9518 and its like, and what load balancers, portals and half-dead servers were reported to send: bodies without an end,
/// wrong lengths, heads of a megabyte, interim answers without a last one. A status of the gateway settles the request, whatever follows
/// it; everything else is sent again; nothing is read without a bound.
#[test]
fn answers_of_any_shape_lose_nothing_and_end() {
    let mut world = World::new(
        Broker::shared(),
        1,
        &[("dig.request_timeout_s", "[10, 30]")],
    );
    let front = Front::open(world.gateway.address());
    world.set("dig.url", &format!("\"http://127.0.0.1:{}\"", front.port()));
    world.join();
    let long = "a".repeat(1_000_000);
    let piece = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for answer in [
        odd(true, &format!("HTTP/1.1 200 OK\r\n{chunked}"), &piece),
        odd(
            true,
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz",
            "",
        ),
        odd(
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}",
            "",
        ),
        odd(
            true,
            "HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\n{\"a\": 1}",
            "",
        ),
        odd(true, "HTTP/1.1 204 No Content\r\n\r\n", ""),
        odd(
            true,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "",
        ),
        odd(
            false,
            &format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\n\r\n"),
            "",
        ),
        odd(false, "HTTP/1.1 200 OK\r\n", "X-Again: and again\r\n"),
        odd(false, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", ""),
        odd(
            false,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "",
        ),
        odd(
            false,
            &format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n{chunked}"),
            &piece,
        ),
        odd(false, &format!("HTTP/1.1 500 No\r\n{chunked}"), &piece),
        odd(false, "", "HTTP/1.1 100 Continue\r\n\r\n"),
        odd(false, "\0\u{1}\u{2} no protocol at all\r\n\r\n", ""),
        odd(false, "", ""),
    ] {
        eprintln!(
            "{}",
            &answer
                .bytes
                .escape_ascii()
                .to_string()
                .chars()
                .take(80)
                .collect::<String>()
        );
        front.answer_next(answer);
        world.produced(40, &[]);
        world.until("the answer was given", |_| front.gave_all());
        world.until("everything is accepted and committed", |world| {
            world.lag() == 0
        });
    }
    world.finish(0);
}

/// Every year some gateway's certificate expires, or is replaced by one of another authority (letsencrypt's expired root of 2021): the
/// wait said only that no answer came.
#[test]
fn a_certificate_that_is_not_trusted_any_more_is_named_and_waited_for() {
    let mut world = World::new(Broker::shared(), 2, &[("ops.stall_after_s", "2")]);
    let front = Front::open(world.gateway.address());
    let ours = Authority::make(world.path("ours"));
    let other = Authority::make(world.path("other"));
    let trusted = ours.certificate(30);
    front.show(&trusted);
    world.set(
        "dig.url",
        &format!("\"https://127.0.0.1:{}\"", front.port()),
    );
    world.set("dig.ca_file", &format!("{:?}", ours.file()));
    world.set("dig.ca_file_only", "true");
    world.join();
    world.produced(300, &[]);
    world.accepts(300);
    for certificate in [other.certificate(30), ours.certificate(-1)] {
        front.show(&certificate);
        world.produced(200, &[]);
        world.until("the wait names the certificate", |world| {
            let wait = not_ready(&mut world.instances[0], "gateway");
            text(&wait, "cause").contains("certificate")
                && text(&wait, "remedy").contains("dig.ca_file")
        });
        front.show(&trusted);
        world.accepts(200);
        ready(&mut world.instances[0]);
    }
    world.finish(0);
}
