//! Bytes of numbers, times and identifiers, appended without a formatter: generation has a budget of well under a
//! microsecond per record.

use base64::Engine as _;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

const DAY_US: i64 = 86_400_000_000;

/// Spreads the bits of `x` over the whole word (the finaliser of the splitmix generator).
#[must_use]
pub const fn spread(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub fn put_uint(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub fn put_int(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    put_uint(out, n.unsigned_abs());
}

/// `n` with its last `decimals` digits behind the point: `put_fixed(out, -4351, 2)` is `-43.51`.
pub fn put_fixed(out: &mut Vec<u8>, n: i64, decimals: u32) {
    if n < 0 {
        out.push(b'-');
    }
    let unit = 10_u64.pow(decimals);
    put_uint(out, n.unsigned_abs() / unit);
    out.push(b'.');
    put_padded(out, n.unsigned_abs() % unit, decimals as usize);
}

/// `n` in exactly `width` decimal digits.
pub fn put_padded(out: &mut Vec<u8>, mut n: u64, width: usize) {
    let at = out.len();
    out.resize(at + width, b'0');
    for digit in out[at..].iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

fn put_pair(out: &mut Vec<u8>, n: u64) {
    let at = (n % 100) as usize * 2;
    out.extend_from_slice(&PAIRS[at..at + 2]);
}

/// `2026-11-23T12:18:06.000123` of microseconds since the epoch, without a zone.
pub fn put_local_time(out: &mut Vec<u8>, us: i64) {
    let days = us.div_euclid(DAY_US);
    let rest = us.rem_euclid(DAY_US) as u64;
    // Days to a civil date in the proleptic Gregorian calendar, counted in eras of 400 years from 1 March of year 0.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = (year_of_era + era * 400 + i64::from(month <= 2)) as u64;
    put_pair(out, year / 100);
    put_pair(out, year);
    out.push(b'-');
    put_pair(out, month as u64);
    out.push(b'-');
    put_pair(out, day as u64);
    out.push(b'T');
    let seconds = rest / 1_000_000;
    put_pair(out, seconds / 3_600);
    out.push(b':');
    put_pair(out, seconds / 60 % 60);
    out.push(b':');
    put_pair(out, seconds % 60);
    out.push(b'.');
    let fraction = rest % 1_000_000;
    put_pair(out, fraction / 10_000);
    put_pair(out, fraction / 100);
    put_pair(out, fraction);
}

/// RFC 3339 in UTC with six fraction digits, the form the gateway's guide recommends.
pub fn put_time(out: &mut Vec<u8>, us: i64) {
    put_local_time(out, us);
    out.push(b'Z');
}

pub fn put_hex(out: &mut Vec<u8>, n: u64, width: usize) {
    for at in (0..width).rev() {
        out.push(b"0123456789ABCDEF"[(n >> (4 * at) & 15) as usize]);
    }
}

/// Standard Base64, padded. At most 64 bytes.
pub fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut text = [0_u8; 88];
    if let Ok(len) = base64::engine::general_purpose::STANDARD.encode_slice(bytes, &mut text) {
        out.extend_from_slice(&text[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_their_sign_and_padding() {
        assert_eq!(text(|out| put_int(out, i64::MIN)), i64::MIN.to_string());
        assert_eq!(text(|out| put_fixed(out, -4_305, 2)), "-43.05");
        assert_eq!(text(|out| put_fixed(out, 7, 3)), "0.007");
        assert_eq!(text(|out| put_hex(out, 0xab, 4)), "00AB");
        assert_eq!(text(|out| put_base64(out, b"abcd")), "YWJjZA==");
    }

    #[test]
    fn times_agree_with_a_calendar_library() {
        for us in [
            0,
            -1,
            951_782_400_000_000,
            1_709_164_799_999_999,
            1_763_899_200_000_123,
            4_102_444_800_000_000,
        ] {
            let calendar = jiff::Timestamp::from_microsecond(us).unwrap();
            assert_eq!(text(|out| put_time(out, us)), format!("{calendar:.6}"));
        }
        for step in 0..20_000_i64 {
            let us = step * 86_400_000_000 * 3 + step * 7_919;
            let calendar = jiff::Timestamp::from_microsecond(us).unwrap();
            assert_eq!(text(|out| put_time(out, us)), format!("{calendar:.6}"));
        }
    }
}
