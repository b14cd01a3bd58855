//! Made-up IMEIs and ICCIDs with check digits that are right, computed apart from the product's own.

/// The `n`th IMEI; the type code stays the same.
pub fn imei(n: u64) -> String {
    complete(&format!("35{:012}", n % 1_000_000_000_000))
}

/// The `n`th number of a SIM, of 19 digits.
pub fn iccid(n: u64) -> String {
    complete(&format!("8944{:014}", n % 100_000_000_000_000))
}

/// What counting a digit twice makes of it (Luhn).
const TWICE: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];

/// The digits and the one digit that makes their sum a multiple of ten.
fn complete(digits: &str) -> String {
    (0..=9)
        .map(|last| format!("{digits}{last}"))
        .find(|text| sum(text).is_multiple_of(10))
        .expect("one of ten")
}

fn sum(text: &str) -> u32 {
    let digits = text.bytes().rev().map(|byte| u32::from(byte - b'0'));
    let counts = digits.enumerate().map(|(at, digit)| match at % 2 {
        0 => digit,
        _ => TWICE[digit as usize],
    });
    counts.sum()
}

#[test]
fn they_are_those_of_known_devices_and_cards() {
    assert_eq!(complete("49015420323751"), "490154203237518");
    assert_eq!(complete("894450010219830482"), "8944500102198304826");
    assert_eq!(imei(1), "350000000000014");
}
