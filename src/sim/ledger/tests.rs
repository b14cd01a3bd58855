use super::*;
use crate::sim::scan::{Limits, scan};

fn add(ledger: &mut Ledger, request: u64, body: &str) -> (Tally, Vec<String>) {
    let limits = Limits {
        max_records: 5000,
        oldest: i64::MIN,
        newest: i64::MAX,
        now: i64::MAX,
        zoneless_is_utc: false,
        refuse_extra_members: true,
        strict_base64: false,
    };
    let mut records = Vec::new();
    scan(&mut body.as_bytes().to_vec(), &limits, &mut records).unwrap();
    let mut rejected = Vec::new();
    let tally = ledger.add(request, 1, body.as_bytes(), &records, |cause, bytes| {
        rejected.push(format!("{cause} {}", String::from_utf8(bytes).unwrap()));
    });
    (tally, rejected)
}

fn status(serial: &str, second: u32, code: u32) -> String {
    format!(
        r#"{{"Type":"StatusRecord","DateTime":"2026-01-01T00:00:{second:02}Z","SerialNo":"{serial}","Code":{code},"Value":1}}"#
    )
}

#[test]
fn first_write_wins_and_order_is_judged_by_first_arrivals() {
    let mut ledger = Ledger::new(Keep::Full);
    let body = format!(
        "[{},{},{}]",
        status("A", 1, 1),
        status("A", 3, 1),
        status("B", 1, 1)
    );
    let (tally, _) = add(&mut ledger, 1, &body);
    assert_eq!(
        tally,
        Tally {
            new: 3,
            serials: 2,
            ..Tally::default()
        }
    );
    // A resend overtakes nothing; an instant that comes late does.
    let (tally, _) = add(
        &mut ledger,
        2,
        &format!("[{},{}]", status("A", 1, 1), status("A", 2, 1)),
    );
    assert_eq!(
        tally,
        Tally {
            new: 1,
            duplicates: 1,
            inversions: 1,
            ..Tally::default()
        }
    );
    let lines = ledger.lines();
    assert_eq!(
        lines.iter().map(|line| line.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(lines[3].standing, Standing::Duplicate);
    assert_eq!(
        lines[4].member("DateTime").as_deref(),
        Some("2026-01-01T00:00:02Z")
    );
    let digests = ledger.digests();
    assert_eq!(
        (
            digests[0].count,
            digests[0].duplicates,
            digests[0].inversions
        ),
        (3, 1, 1)
    );
    let expected = ["01", "03", "02"]
        .iter()
        .fold(CHAIN_START, |so_far, second| {
            chain(
                so_far,
                "StatusRecord",
                format!("2026-01-01T00:00:{second}Z").as_bytes(),
            )
        });
    assert_eq!(digests[0].chain, expected);
    assert_eq!(chain(CHAIN_START, "", b""), {
        let nul = CHAIN_START.wrapping_mul(0x100_0000_01b3);
        (nul ^ 10).wrapping_mul(0x100_0000_01b3)
    });
}

#[test]
fn lines_are_json_of_one_line_with_canonical_names() {
    let mut ledger = Ledger::new(Keep::Full);
    let odd = "{\n\"TYPE\":\"GpsRecord\", \"datetime\":\"2026-01-01T00:00:00Z\",\"serialNo\":\"A\",\"latitude\":91,\"Longitude\":0}";
    let (tally, rejected) = add(&mut ledger, 7, &format!("[{odd},{}]", status("A", 0, 128)));
    assert_eq!((tally.invalid, tally.dropped), (1, 1));
    assert!(
        rejected[0].ends_with(r#""Latitude":91,"Longitude":0}"#),
        "{rejected:?}"
    );
    let mut out = Vec::new();
    ledger.write(0, 10, &mut out);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["Record"]["SerialNo"], "A");
    assert_eq!(lines[0]["Request"], 7);
    assert_eq!(lines[0]["Invalid"], "sim: Latitude is outside -90..90");
    assert_eq!(lines[1]["Dropped"], true);
    assert_eq!(text.lines().next(), Some(ledger.lines()[0].json().as_str()));
}

#[test]
fn keeping_nothing_sees_no_duplicates() {
    let mut ledger = Ledger::new(Keep::None);
    let body = format!("[{},{}]", status("A", 1, 1), status("A", 1, 1));
    assert_eq!(
        add(&mut ledger, 1, &body).0,
        Tally {
            new: 2,
            ..Tally::default()
        }
    );
    assert!(ledger.is_empty() && ledger.digests().is_empty());
    let mut digest = Ledger::new(Keep::Digest);
    assert_eq!(add(&mut digest, 1, &body).0.duplicates, 1);
    assert!(digest.is_empty());
}
