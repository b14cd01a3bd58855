//! The header that a schema registry's serializers write before a message: a zero byte, the schema's id, and for Protobuf the
//! place of the message type in its schema.

use super::fault::{Checked, Fault, HEADER};

/// Most steps to a nested message type.
const NESTED: usize = 32;

/// The schema's id and what follows it.
pub(super) fn split(message: &[u8]) -> Checked<(u32, &[u8])> {
    match message {
        [0, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        _ => {
            let shown: Vec<String> = message
                .iter()
                .take(5)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            Err(Fault::new(
                HEADER,
                format!("bytes {}", shown.join(" ")),
                "a zero byte and the four bytes of a schema id",
            ))
        }
    }
}

/// The place of the message type, as indexes from outer to nested types, and what follows it.
pub(super) fn message_type(rest: &[u8]) -> Checked<(Vec<u32>, &[u8])> {
    let wrong = || {
        Fault::new(
            HEADER,
            "the indexes of the message type end early or make no sense",
            "a count and as many indexes",
        )
    };
    let mut at = 0;
    let mut next = || {
        let value = varint(rest, &mut at)?;
        u32::try_from(unzigzag(value)).ok()
    };
    let count = next().ok_or_else(wrong)? as usize;
    if count > NESTED {
        return Err(wrong());
    }
    // No index stands for the first message type.
    let indexes = match count {
        0 => vec![0],
        count => (0..count)
            .map(|_| next())
            .collect::<Option<Vec<u32>>>()
            .ok_or_else(wrong)?,
    };
    Ok((indexes, &rest[at..]))
}

/// The header of a message of this schema.
#[must_use]
pub fn header(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

/// A number of up to 64 bits, seven of them in a byte, the lowest first; `None` when it ends early or has more bits.
#[inline]
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Small negative numbers in few bytes.
#[inline]
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_what_is_none_is_refused() {
        assert_eq!(split(&[0, 0, 0, 1, 2, 9]).unwrap(), (258, &[9][..]));
        assert_eq!(split(&header(70_000)).unwrap(), (70_000, &[][..]));
        for wrong in [&b""[..], b"{\"a\":1}", b"\0\0\0", b"\x01\0\0\0\x01"] {
            assert_eq!(split(wrong).unwrap_err().rule, HEADER);
        }
    }

    #[test]
    fn the_message_type_is_found_by_its_place() {
        assert_eq!(message_type(&[0, 7]).unwrap(), (vec![0], &[7][..]));
        assert_eq!(message_type(&[4, 2, 6, 7]).unwrap(), (vec![1, 3], &[7][..]));
        for wrong in [&b""[..], &[4, 2], &[1], &[0xff; 11], &[0x80, 0x80, 1]] {
            assert_eq!(message_type(wrong).unwrap_err().rule, HEADER, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_of_64_bits_are_whole() {
        let read = |bytes: &[u8]| varint(bytes, &mut 0);
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Some(u64::MAX)
        );
        assert_eq!(read(&[0xff; 10]), None);
        assert_eq!(read(&[0x80]), None);
        assert_eq!([0, 1, 2, u64::MAX].map(unzigzag), [0, -1, 1, i64::MIN]);
    }
}
