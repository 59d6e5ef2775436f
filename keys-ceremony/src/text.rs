//! Foreign text, made safe for a terminal.

/// Text from a file or a file's name, of printable ASCII alone: all else is escaped, so that none of it can steer
/// a terminal or pass for another line.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => plain.push(c),
            _ => plain.extend(c.escape_default()),
        }
    }
    plain
}
