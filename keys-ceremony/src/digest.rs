//! Digests as people read them aloud, type and paste them: groups, white space and capitals do not matter.

use crate::encoding::is_digest;
use crate::{Error, Misuse};

/// Digits of a digest that are enough where a person types them: two repositories do not share them by chance or by hard
/// work, and they can be read aloud.
pub const DIGITS: usize = 16;

/// The digits alone, in lower case.
pub fn digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase()
}

/// All 64 digits of a SHA-256 digest.
///
/// # Errors
/// [`Misuse::NotADigest`].
pub fn parse(text: &str) -> Result<String, Error> {
    let digest = digits(text);
    if is_digest(&digest) {
        Ok(digest)
    } else {
        Err(Misuse::NotADigest { length: digest.chars().count() }.into())
    }
}

/// Whether a person typed what `digest` begins with: [`DIGITS`] digits of it, or more.
pub fn begins(digest: &str, typed: &str) -> bool {
    let typed = digits(typed);
    typed.len() >= DIGITS && digest.starts_with(&typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_read_in_groups_and_capitals_and_counted_where_it_is_none() {
        let digest = "0123456789abcdef".repeat(4);
        for text in [digest.clone(), digest.to_uppercase(), format!(" {} {}\n", &digest[..8], &digest[8..])] {
            assert_eq!(parse(&text).unwrap(), digest);
        }
        for (text, length) in [("", 0), ("16af 7bd2", 8), (&"g".repeat(64), 64), (&digest[1..], 63)] {
            assert_eq!(parse(text).unwrap_err(), Misuse::NotADigest { length }.into());
        }
    }

    #[test]
    fn typed_digits_are_sixteen_at_least_and_all_of_them_count() {
        let digest = "0123456789abcdef".repeat(4);
        for typed in ["0123456789abcdef", "01234567 89ABCDEF\n", "0123456789abcdef0", &digest] {
            assert!(begins(&digest, typed), "{typed}");
        }
        let longer = format!("{digest}0");
        for typed in ["", "0123456789abcde", "0123456789abcdef1", "1123456789abcdef", &longer] {
            assert!(!begins(&digest, typed), "{typed}");
        }
    }
}
