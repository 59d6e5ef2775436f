//! What little of ASN.1 DER a signature and an RSA key need: elements, and numbers in their one spelling.

/// The content of the element with this tag at the front, and what lies behind.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        #[cfg(feature = "host")]
        0x81 => (usize::from(*rest.first().filter(|length| **length >= 0x80)?), rest.get(1..)?),
        #[cfg(feature = "host")]
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let length = u16::from_be_bytes(*length);
            (usize::from(Some(length).filter(|length| *length >= 0x100)?), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The bytes, big-endian, of the INTEGER at the front, which is not negative, and what lies behind. A number has one
/// spelling: a zero stands before it where it would else be negative, and nowhere else.
pub(crate) fn unsigned(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (number, rest) = element(der, 0x02)?;
    match number {
        [0, second, ..] if *second < 0x80 => None,
        [0, digits @ ..] if !digits.is_empty() => Some((digits, rest)),
        [first, ..] if *first < 0x80 => Some((number, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_one_spelling() {
        assert_eq!(unsigned(&[2, 1, 0]), Some((&[0][..], &[][..])));
        assert_eq!(unsigned(&[2, 1, 0x7F, 9]), Some((&[0x7F][..], &[9][..])));
        assert_eq!(unsigned(&[2, 2, 0, 0x80]), Some((&[0x80][..], &[][..])));
        for number in [
            // Negative, empty, with a zero too many, of another tag, cut off, without a length.
            &[2, 1, 0x80][..],
            &[2, 0],
            &[2, 2, 0, 0x7F],
            &[2, 2, 0, 0],
            &[3, 1, 1],
            &[2, 2, 1],
            &[2],
        ] {
            assert_eq!(unsigned(number), None, "{number:?}");
        }
    }

    #[test]
    fn length_has_one_spelling() {
        assert_eq!(element(&[0x30, 0x81, 1, 7], 0x30), None);
        assert_eq!(element(&[0x30, 0x80, 7, 0, 0], 0x30), None);
        assert_eq!(element(&[0x30, 0x82, 0, 1, 7], 0x30), None);
    }
}
