//! Durations and sizes as people write them.

/// Seconds of `90`, `90s`, `5m`, `1h 30m`, `2 days`.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    sum(text, |unit| {
        Some(match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 60 * 60,
            "d" | "day" | "days" => 24 * 60 * 60,
            _ => return None,
        })
    })
    .and_then(|seconds| u32::try_from(seconds).ok())
}

/// Bytes of `4096`, `500 kB`, `20 MiB`, `1 GiB`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    sum(text, |unit| {
        Some(match unit {
            "" | "b" | "byte" | "bytes" => 1,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            _ => return None,
        })
    })
}

fn sum(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (mut rest, mut total) = (text.as_str(), 0_u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let letters = behind.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(letters);
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit(name)?)?)?;
        rest = behind.trim_start();
    }
    Some(total)
}

/// So many seconds for a person: the largest unit that fits, and no more.
pub(crate) fn about(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        let durations =
            [("90", 90), ("90s", 90), ("5m", 300), ("1h 30m", 5400), ("1h30m", 5400), ("2 days", 172_800)];
        for (text, expected) in durations {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "h", "1 fortnight", "-1h", "1.5h", "1h,2m", "999999999999d", "5000000000"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        let sizes =
            [("4096", 4096), ("500 kB", 500_000), ("20 MiB", 20 << 20), ("1GiB", 1 << 30), ("64M", 64 << 20)];
        for (text, expected) in sizes {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!(bytes("20 MiBs"), None);
        assert_eq!(
            [about(59), about(3599), about(7200), about(200_000)],
            ["59 s", "59 min", "2 h", "2 days"]
        );
    }
}
