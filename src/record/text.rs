//! The forms of text members: Base64, Bluetooth addresses, trouble codes, VINs.
//!
//! Pure functions on text; no rule ids here.

use std::borrow::Cow;

use super::serial::is_upper_or_digit;

/// Whether every character can stand in a JSON string, a Kafka header and a log line as it is.
pub(super) fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || c == '"' || c == '\\')
}

/// The decoded length of standard padded Base64, or `None` when it is not that. Left-over bits of the last digit are ignored.
pub(super) fn base64_len(text: &str) -> Option<usize> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take(2)
        .take_while(|&&byte| byte == b'=')
        .count();
    let digits = &text[..text.len() - padding];
    let ok = digits.iter().fold(true, |ok, &byte| {
        ok & (byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/'))
    });
    ok.then(|| text.len() / 4 * 3 - padding)
}

/// A Bluetooth address as six upper-case pairs with colons, from pairs separated by `:`, `-`, `.` or a space, or from twelve digits.
pub(super) fn bluetooth_address(text: &str) -> Option<[u8; 17]> {
    let text = text.as_bytes();
    let step = match text.len() {
        17 if (2..17)
            .step_by(3)
            .all(|at| b":-. ".contains(&text[at]) && text[at] == text[2]) =>
        {
            3
        }
        12 => 2,
        _ => return None,
    };
    let mut out = *b"00:00:00:00:00:00";
    for pair in 0..6 {
        for digit in 0..2 {
            let byte = text[pair * step + digit];
            if !byte.is_ascii_hexdigit() {
                return None;
            }
            out[pair * 3 + digit] = byte.to_ascii_uppercase();
        }
    }
    Some(out)
}

/// Whether a trouble code has the usual shape, `^[PCBU][0-9A-F]{4}$`.
pub(super) fn is_trouble_code(text: &str) -> bool {
    let text = text.as_bytes();
    text.len() == 5
        && b"PCBU".contains(&text[0])
        && text[1..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte))
}

/// A VIN trimmed and in upper case; borrowed when it already is.
pub(super) fn normalise_vin(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim();
    if trimmed.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Cow::Owned(trimmed.to_ascii_uppercase())
    } else {
        Cow::Borrowed(trimmed)
    }
}

/// Whether all characters are of the VIN alphabet: digits and upper-case letters without I, O and Q (ISO 3779).
pub(super) fn is_vin_alphabet(text: &str) -> bool {
    text.bytes()
        .all(|byte| is_upper_or_digit(byte) && !b"IOQ".contains(&byte))
}

/// Whether the ninth character is the check digit of the others (ISO 3779 annex, weights as in 49 CFR 565.15).
pub(super) fn has_check_digit(vin: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let vin = vin.as_bytes();
    if vin.len() != 17 {
        return false;
    }
    let mut sum = 0;
    for (&byte, weight) in vin.iter().zip(WEIGHTS) {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'H' => byte - b'A' + 1,
            b'J'..=b'N' | b'P' | b'R' => byte - b'J' + 1,
            b'S'..=b'Z' => byte - b'S' + 2,
            _ => return false,
        };
        sum += u32::from(value) * weight;
    }
    let expected = match sum % 11 {
        10 => b'X',
        digit => b'0' + digit as u8,
    };
    vin[8] == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        for (text, len) in [
            ("", 0),
            ("QQ==", 1),
            ("QUI=", 2),
            ("QUJD", 3),
            ("QR==", 1),
            ("+/+/", 3),
        ] {
            assert_eq!(base64_len(text), Some(len), "{text}");
        }
        for bad in [
            "Q", "QQ", "QQ=", "Q===", "====", "QQ==QQ==", "QU-_", "QU J", "QUJ\n",
        ] {
            assert_eq!(base64_len(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses() {
        for good in [
            "FF:FF:FF:00:AA:9B",
            "ff-ff-ff-00-aa-9b",
            "FFFFFF00aa9b",
            "FF.FF.FF.00.AA.9B",
            "FF FF FF 00 AA 9B",
        ] {
            assert_eq!(
                bluetooth_address(good).as_ref(),
                Some(b"FF:FF:FF:00:AA:9B"),
                "{good}"
            );
        }
        for bad in [
            "",
            "FF:FF:FF:00:AA",
            "FF:FF-FF:00:AA:9B",
            "GF:FF:FF:00:AA:9B",
            "FF:FF:FF:00:AA:9B:",
            "FFFFFF00aa9é",
        ] {
            assert_eq!(bluetooth_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn vins() {
        assert!(has_check_digit("1M8GDM9AXKP042788"));
        assert!(has_check_digit("11111111111111111"));
        assert!(!has_check_digit("1M8GDM9A1KP042788"));
        assert!(!is_vin_alphabet("1M8GDM9AXKP04278O"));
        assert_eq!(normalise_vin(" 1m8 "), "1M8");
    }
}
