//! Measures what a running simulator takes: posts prepared requests over plain sockets as fast as they are answered.
//!
//! ```text
//! taskset -c 0 target/release/dig-ingest sim --listen 127.0.0.1:8480 --ledger none &
//! taskset -c 1 cargo bench --bench sim -- 127.0.0.1:8480 $! 10000000
//! ```
//! Prints records/s by the clock, and the simulator's CPU seconds per million records from `/proc/PID/stat`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

const CONNECTIONS: usize = 4;
const RECORDS_PER_REQUEST: usize = 5000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds a flag of its own.
    let mut arguments = std::env::args().skip(1).filter(|one| one != "--bench");
    let (Some(address), Some(pid), Some(records)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!(
            "nothing to do: cargo bench --bench sim -- ADDRESS PID RECORDS, of a running simulator"
        );
        return Ok(());
    };
    let records: usize = records.parse()?;
    let bearer = login(&address)?;
    let bodies: Vec<Vec<u8>> = (0..8)
        .map(|number| request(&address, &bearer, number))
        .collect();
    let bytes: usize =
        bodies.iter().map(Vec::len).sum::<usize>() / bodies.len() / RECORDS_PER_REQUEST;
    let rounds = records / RECORDS_PER_REQUEST / CONNECTIONS;
    let total = rounds * RECORDS_PER_REQUEST * CONNECTIONS;
    let before = cpu_seconds(&pid)?;
    let from = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                let (address, bodies) = (&address, &bodies);
                scope.spawn(move || -> std::io::Result<()> {
                    let mut stream = TcpStream::connect(address)?;
                    stream.set_nodelay(true)?;
                    for round in 0..rounds {
                        stream.write_all(&bodies[(worker + round) % bodies.len()])?;
                        let answer = answer(&mut stream)?;
                        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let (wall, cpu) = (from.elapsed().as_secs_f64(), cpu_seconds(&pid)? - before);
    println!(
        "records={total} bytes_per_record={bytes} records_per_s={:.0} cpu_s_per_million={:.4} records_per_cpu_s={:.0}",
        total as f64 / wall,
        cpu / total as f64 * 1e6,
        total as f64 / cpu
    );
    Ok(())
}

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: &str) -> Result<f64, Box<dyn std::error::Error>> {
    // Nanoseconds on a processor, of every thread.
    let mut all = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        all += text.split(' ').next().unwrap_or("0").parse::<f64>()? / 1e9;
    }
    Ok(all)
}

fn answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut buffer = [0; 4096];
    let mut text = String::new();
    loop {
        let read = stream.read(&mut buffer)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        // Answers are small: the envelope's end is the answer's end.
        if read == 0 || text.ends_with('}') {
            return Ok(text);
        }
    }
}

fn login(address: &str) -> Result<String, Box<dyn std::error::Error>> {
    let body = r#"{"Username":"load","Password":"load"}"#;
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /authentication/authenticate HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let answer = answer(&mut stream)?;
    let token = answer
        .split("\"TokenString\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    Ok(token.ok_or("no token in the answer")?.to_owned())
}

/// A request of mixed record types, two thirds of them positions.
fn request(address: &str, bearer: &str, number: usize) -> Vec<u8> {
    let day = jiff::Timestamp::now().to_string()[..10].to_owned();
    let mut body = String::from("[");
    for record in 0..RECORDS_PER_REQUEST {
        let serial = format!("CX{:010}", (number * 100 + record / 50) * 7);
        let time = format!(
            "{day}T00:{:02}:{:02}.{:06}Z",
            record / 60 % 60,
            record % 60,
            record * 173 % 1_000_000
        );
        let comma = if record == 0 { "" } else { "," };
        let head = format!(r#"{comma}{{"Type":"#);
        let base = format!(r#""DateTime":"{time}","SerialNo":"{serial}""#);
        let _ = match record % 6 {
            0..4 => write!(
                body,
                r#"{head}"GpsRecord",{base},"Latitude":43.{:05},"Longitude":-79.{:05},"Speed":{}.5,"IsGpsValid":true,"IsIgnitionOn":true}}"#,
                record * 7,
                record * 3,
                record % 120
            ),
            4 => write!(
                body,
                r#"{head}"GenericStatusRecord",{base},"Code":107,"Value":{record}}}"#
            ),
            _ => write!(
                body,
                r#"{head}"AccelerationRecord",{base},"X":{},"Y":-12,"Z":1003}}"#,
                record % 900
            ),
        };
    }
    body.push(']');
    let head = format!(
        "POST /records HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {bearer}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut request = head.into_bytes();
    request.extend(body.into_bytes());
    request
}
