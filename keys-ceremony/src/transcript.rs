//! The transcript of a ceremony: who signed which bytes, when, with which tool and which kind of key source.
//!
//! ```text
//! {"action":"draft","before":"<start>","entry":1,"format":1,"repository":"…","role":"root",…}
//! {"action":"sign","before":"<sha256 of the line above>","entry":2,"format":1,"keyid":"…",…}
//! ```
//!
//! One entry is one line of canonical JSON. Each names the SHA-256 of the line before it, without its line feed; the
//! first names [`start`] of its repository. The digest of the last line is the *head*: who knows it knows the file.
//! Whatever is changed, dropped or swapped breaks the chain, save at its end, where it changes the head. So the head is
//! read aloud, and the next root records it.

mod entry;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::encoding::{is_digest, member, sha256_hex};
use crate::file::{self, Access, MAX_FILE};
use crate::key::grouped;
use crate::metadata::Role;
use crate::request::Request;
use crate::root::{Chain, Root};
use crate::{Environment, Error, Misuse, Rejected, digest};

pub use entry::{Act, Action, Entry, Source};
pub use show::Shown;

/// How many entries a transcript had, and the digest of the last: what a root records, and what is read aloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many entries, 1 or more.
    pub entries: u32,
    /// SHA-256 of the last entry's bytes, in lower-case hex.
    pub sha256: String,
}

impl Head {
    /// Reads the member `transcript` of a root's `signed` value, if there is one. What a later version adds to it is
    /// skipped.
    ///
    /// # Errors
    /// [`Rejected::WrongField`].
    pub(crate) fn from_root(signed: &Value) -> Result<Option<Head>, Error> {
        let Some(written) = signed.get("transcript") else { return Ok(None) };
        let named = |error: Error| match error {
            Error::Rejected { why: Rejected::WrongField { field, expected }, .. } => {
                Rejected::WrongField { field: format!("transcript.{field}"), expected }.into()
            }
            other => other,
        };
        let entries = member(written, "entries", "an integer from 1 to 4294967295", |value| {
            u32::try_from(value.as_u64()?).ok().filter(|entries| *entries > 0)
        });
        let sha256 = member(written, "sha256", "a SHA-256 digest in lower-case hex", |value| {
            value.as_str().filter(|text| is_digest(text))
        });
        Ok(Some(Head { entries: entries.map_err(named)?, sha256: sha256.map_err(named)?.to_owned() }))
    }

    /// The member `transcript`.
    pub(crate) fn to_value(&self) -> Value {
        json!({ "entries": self.entries, "sha256": self.sha256 })
    }
}

/// "5 entries, head sha256 0cdee7f3 05e84b04 …", in groups, to be read aloud.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = if self.entries == 1 { "entry" } else { "entries" };
        write!(f, "{} {entries}, head sha256 {}", self.entries, grouped(&self.sha256))
    }
}

/// A head's digest as a person types or pastes it: groups, spaces and capitals do not matter.
///
/// # Errors
/// [`Misuse::NotAHead`].
pub fn parse_head(text: &str) -> Result<String, Error> {
    digest::parse(text).map_err(|error| match error {
        Error::Misuse { why: Misuse::NotADigest { length }, .. } => Misuse::NotAHead { length }.into(),
        other => other,
    })
}

/// What the first entry of a repository's transcript follows. `repository` is the digest of its root 1.
pub fn start(repository: &str) -> String {
    sha256_hex(format!("tuffet transcript 1\n{repository}\n").as_bytes())
}

/// What a transcript must be for something to be appended to it: of this repository, and the one whose head its roots
/// record.
#[derive(Clone, Debug)]
pub struct Terms {
    repository: String,
    recorded: Vec<(u32, Head)>,
}

impl Terms {
    /// For what is done with a request: its own record counts, if it is a root, and that of the root that it is signed
    /// under. An older root's does not, so that a new transcript may begin where one was lost: after a root without any.
    ///
    /// # Errors
    /// What is wrong with the root; a [`Request`] holds none that has anything wrong.
    pub fn of_request(request: &Request) -> Result<Terms, Error> {
        let own = match request.header().role {
            Role::Root => Some(Root::from_signed(request.signed().value())?),
            _ => None,
        };
        let roots = request.chain().last().into_iter().chain(own.as_ref());
        Ok(Terms { repository: request.repository(), recorded: roots.filter_map(record).collect() })
    }

    /// For a root that is to follow this chain; none before the first root, which no transcript can precede: the chain
    /// of entries starts with its digest.
    pub fn after(chain: &Chain) -> Option<Terms> {
        let repository = sha256_hex(chain.first_payload()?);
        Some(Terms { repository, recorded: chain.last().and_then(record).into_iter().collect() })
    }

    fn check(&self, there: Option<&Transcript>) -> Result<(), Error> {
        let Some(transcript) = there else {
            return match self.recorded.last() {
                Some((root, head)) => {
                    let (root, entries) = (*root, head.entries);
                    Err(Rejected::NotTheRecorded { root, entries, found: 0 }.into())
                }
                None => Ok(()),
            };
        };
        transcript.check_repository(&self.repository)?;
        self.recorded.iter().try_for_each(|(root, head)| transcript.check_record(*root, head))
    }
}

fn record(root: &Root) -> Option<(u32, Head)> {
    Some((root.header.version, root.transcript.clone()?))
}

/// A transcript whose every entry follows the one before it.
#[derive(Clone, Debug)]
pub struct Transcript {
    bytes: Vec<u8>,
    repository: String,
    entries: Vec<Entry>,
    /// SHA-256 of each entry's bytes; never empty.
    digests: Vec<String>,
}

impl Transcript {
    /// Reads and verifies a transcript, all but its end: that shows by the head alone.
    ///
    /// # Errors
    /// [`Rejected::TranscriptBroken`] names the first entry that is not what it should be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Transcript, Error> {
        let broken = |entry: usize, why: String| Error::from(Rejected::TranscriptBroken { entry, why });
        if bytes.is_empty() {
            return Err(broken(1, "the file is empty".to_owned()));
        }
        let Some(lines) = bytes.strip_suffix(b"\n") else {
            let last = bytes.split(|byte| *byte == b'\n').count();
            return Err(broken(last, "it has no end: the file was cut off".to_owned()));
        };
        let mut transcript = Transcript {
            bytes: bytes.to_vec(),
            repository: String::new(),
            entries: Vec::new(),
            digests: Vec::new(),
        };
        for (line, number) in lines.split(|byte| *byte == b'\n').zip(1..) {
            let entry = Entry::from_bytes(line).map_err(|why| broken(number, why))?;
            transcript.push(entry, line).map_err(|why| broken(number, why))?;
        }
        Ok(transcript)
    }

    /// The next entry, if it follows the last.
    fn push(&mut self, entry: Entry, line: &[u8]) -> Result<(), String> {
        if self.entries.is_empty() {
            self.repository.clone_from(&entry.repository);
        }
        if entry.repository != self.repository {
            return Err("it is of another repository than the first".to_owned());
        }
        let number = self.next_number().ok_or("no number is left")?;
        if entry.number != number {
            return Err(format!("entry {} stands in its place", entry.number));
        }
        if entry.before != self.last_digest() {
            return Err(match self.digests.len() {
                0 => "it does not begin the transcript of its repository".to_owned(),
                _ => "the entry before it is not the one that it was written after".to_owned(),
            });
        }
        self.entries.push(entry);
        self.digests.push(sha256_hex(line));
        Ok(())
    }

    /// [`Transcript::from_bytes`] from a file.
    ///
    /// # Errors
    /// As [`Transcript::from_bytes`], or [`Environment::Io`].
    pub fn read(path: &Path) -> Result<Transcript, Error> {
        Transcript::from_bytes(&file::read(path)?).map_err(|error| error.in_file(path))
    }

    /// The digest of root 1 of the repository that it is about.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// All entries, from the first on.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many entries there are, and the digest of the last.
    pub fn head(&self) -> Head {
        // As many as there are numbers, which are u32.
        let entries = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        Head { entries, sha256: self.last_digest() }
    }

    /// Makes sure that it ends with the entry of this digest.
    ///
    /// # Errors
    /// [`Rejected::OtherHead`], which says so if an earlier entry has the digest.
    pub fn check_head(&self, sha256: &str) -> Result<(), Error> {
        let Head { entries, sha256: found } = self.head();
        if found == sha256 {
            return Ok(());
        }
        let earlier = self.digests.iter().position(|digest| digest == sha256).map(|index| index + 1);
        Err(Rejected::OtherHead { expected: sha256.to_owned(), found, entries, earlier }.into())
    }

    /// Makes sure that it begins with what a root of this version recorded.
    ///
    /// # Errors
    /// [`Rejected::NotTheRecorded`].
    pub fn check_record(&self, root: u32, head: &Head) -> Result<(), Error> {
        let last = (head.entries as usize).checked_sub(1).and_then(|index| self.digests.get(index));
        if last == Some(&head.sha256) {
            return Ok(());
        }
        Err(Rejected::NotTheRecorded { root, entries: head.entries, found: self.entries.len() }.into())
    }

    /// Makes sure that it is of the repository of this root, and begins with what the root recorded. Gives that.
    ///
    /// # Errors
    /// [`Rejected::OtherTranscript`], [`Rejected::NotTheRecorded`], and [`Misuse::NothingRecorded`] if the root says
    /// nothing of a transcript.
    pub fn check_root(&self, chain: &Chain) -> Result<(u32, Head), Error> {
        self.check_repository(&sha256_hex(chain.first_payload().unwrap_or_default()))?;
        let version = chain.last().map_or(0, |root| root.header.version);
        let recorded = chain.last().and_then(record).ok_or(Misuse::NothingRecorded { root: version })?;
        self.check_record(recorded.0, &recorded.1)?;
        Ok(recorded)
    }

    fn check_repository(&self, expected: &str) -> Result<(), Error> {
        if self.repository != expected {
            let (expected, found) = (expected.to_owned(), self.repository.clone());
            return Err(Rejected::OtherTranscript { expected, found }.into());
        }
        Ok(())
    }

    fn last_digest(&self) -> String {
        self.digests.last().cloned().unwrap_or_else(|| start(&self.repository))
    }

    fn next_number(&self) -> Option<u32> {
        u32::try_from(self.entries.len()).ok()?.checked_add(1)
    }

    fn append(&mut self, act: Act, time: u64) -> Result<(), Error> {
        let full = || Error::from(Rejected::TooLarge { limit: MAX_FILE });
        let number = self.next_number().ok_or_else(full)?;
        let repository = self.repository.clone();
        let entry = Entry::new(number, self.last_digest(), repository, act, time);
        let line = entry.to_bytes()?;
        self.bytes.extend_from_slice(&line);
        self.bytes.push(b'\n');
        self.digests.push(sha256_hex(&line));
        self.entries.push(entry);
        // What could not be read again is not written.
        if self.bytes.len() as u64 > MAX_FILE { Err(full()) } else { Ok(()) }
    }
}

/// The head of a transcript to which something could be appended under these terms; none if there is no such file, and
/// none is recorded.
///
/// # Errors
/// As [`append`].
pub fn head(path: &Path, terms: &Terms) -> Result<Option<Head>, Error> {
    let there = match path.symlink_metadata() {
        Ok(_) => Some(Transcript::read(path)?),
        Err(_) => None,
    };
    terms.check(there.as_ref()).map_err(|error| error.in_file(path))?;
    Ok(there.map(|transcript| transcript.head()))
}

/// Appends what was done at `time`, in seconds since 1970-01-01 UTC; a file that is not there begins with it. Who
/// appends at the same time comes before or after. Gives the new head.
///
/// # Errors
/// [`Rejected::TranscriptBroken`], [`Rejected::OtherTranscript`], [`Rejected::NotTheRecorded`],
/// [`Rejected::TooLarge`], or [`Environment::Io`]. The file is as it was then.
pub fn append(path: &Path, terms: &Terms, acts: &[Act], time: u64) -> Result<Head, Error> {
    let mut head = None;
    file::update_or_create(path, Access::Shared, |there| {
        let there = there.map(Transcript::from_bytes).transpose().map_err(|error| error.in_file(path))?;
        terms.check(there.as_ref()).map_err(|error| error.in_file(path))?;
        let mut transcript = there.unwrap_or_else(|| Transcript {
            bytes: Vec::new(),
            repository: terms.repository.clone(),
            entries: Vec::new(),
            digests: Vec::new(),
        });
        for act in acts {
            transcript.append(act.clone(), time).map_err(|error| error.in_file(path))?;
        }
        // It is written as it will be read: a fault shows now, and not when somebody needs the file.
        let written = Transcript::from_bytes(&transcript.bytes).map_err(|error| error.in_file(path))?;
        head = Some(written.head());
        Ok(written.bytes)
    })?;
    // `update_or_create` has called it, or failed.
    head.ok_or_else(|| Environment::SelfCheck.into())
}
