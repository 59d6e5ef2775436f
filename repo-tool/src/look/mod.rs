//! Looking: what there is, and what devices would do with it. Nothing here changes anything, and nothing waits for the
//! workspace's lock.
//!
//! | module | knows |
//! |---|---|
//! | [`place`] | what lies at a path or an address: a repository, a metadata file, a signing request, an image |
//! | [`status`] | what expires when, what waits for whom, and what is to be done next |
//! | [`diff`](mod@diff) | what changes for devices from one place to another |
//! | [`inspect`](mod@inspect) | what a file says, in lines |
//! | [`device`] | what one device does, now and later, and why |
//!
//! What lies in a place may come from anybody. Its texts are shown with everything but printable ASCII escaped, its files
//! are bounded in size, and no signature is spoken of as good that was not verified.

pub mod device;
pub mod diff;
pub mod inspect;
pub mod place;
pub mod status;

/// A number with commas: 1,234.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
