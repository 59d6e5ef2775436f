//! What is linked into an image, by its symbol table.
//!
//! Code is counted by symbols, for the gaps that the linker leaves between them come out a few bytes longer or
//! shorter by where the checkout lies: names are hashed with its path, and order the code.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use crate::{Failure, file};

/// Symbols that are shown.
const SHOWN: usize = 20;

/// Whose a symbol is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// `tuffet-agent`, with what was inlined into it, by its modules. Records are those in the trust journal.
    Journal,
    Records,
    Slots,
    Boot,
    Engine,
    /// `tuffet-client`, with what was inlined into it.
    Client,
    /// `p256` and all below it.
    P256,
    Sha2,
    Core,
    CompilerBuiltins,
    /// `heapless`, `cortex-m-rt` and what has no name of a crate in it.
    Other,
    /// The measuring program's own.
    Measure,
}

/// A linked program.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    /// Bytes of flash, without the measuring program's own code.
    pub(crate) flash: u64,
    /// Symbols of `core::fmt`.
    pub(crate) formatting: Vec<String>,
    /// Code, the longest first.
    code: Vec<(u64, Owner, String)>,
    /// Read-only data, initial values, and the vector table.
    constants: u64,
}

impl Image {
    /// Bytes of the agent's journal, records, slot writer, and boot record with hand-over, by symbols.
    pub(crate) fn parts(&self) -> [u64; 4] {
        [Owner::Journal, Owner::Records, Owner::Slots, Owner::Boot]
            .map(|part| self.code.iter().filter(|(_, owner, _)| *owner == part).map(|(size, ..)| size).sum())
    }

    pub(crate) fn read(path: PathBuf) -> Result<Image, Failure> {
        let bytes = fs::read(&path).map_err(|error| file(&path, error))?;
        let refused = |what: &str| Failure::Refused(format!("{}: {what}", path.display()));
        let elf = object::File::parse(bytes.as_slice()).map_err(|error| refused(&error.to_string()))?;

        let mut constants = 0;
        let mut texts = HashSet::new();
        for section in elf.sections() {
            match section.kind() {
                SectionKind::Text => _ = texts.insert(section.index()),
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data => {
                    constants += section.size();
                }
                _ => {}
            }
        }

        // Two names of one place are one.
        let mut code = BTreeMap::new();
        let mut formatting = Vec::new();
        for symbol in elf.symbols() {
            let name = symbol.name().map_err(|error| refused(&error.to_string()))?;
            let name = readable(name);
            // What is called `fmt` is of one of its traits.
            if name.contains("core::fmt::") || name.ends_with("::fmt") {
                formatting.push(name.clone());
            }
            if symbol.size() > 0 && symbol.section_index().is_some_and(|index| texts.contains(&index)) {
                code.insert(symbol.address(), (symbol.size(), owner(&name), name));
            }
        }
        if !code.values().any(|(_, owner, _)| *owner == Owner::Measure) {
            return Err(refused("has no symbols"));
        }
        let mut code: Vec<_> = code.into_values().collect();
        code.sort_by(|one, other| other.cmp(one));
        let theirs = code.iter().filter(|(_, owner, _)| *owner != Owner::Measure);
        let flash = constants + theirs.map(|(size, ..)| size).sum::<u64>();
        Ok(Image { path, flash, formatting, code, constants })
    }
}

/// The owner of a symbol. What is generic belongs to whom it was made for, the client before all.
fn owner(name: &str) -> Owner {
    // Out of line for that purpose: what is in them is the client's.
    if name.starts_with("measure::cycle::calls::") {
        return Owner::Client;
    }
    if name.starts_with("measure::agent::calls::") {
        return Owner::Engine;
    }
    if name.starts_with("measure::boot::calls::") {
        return Owner::Boot;
    }
    // All of it but a few instructions was inlined.
    if name == "tuffet_client::crypto::verify_p256" {
        return Owner::P256;
    }
    let crates: BTreeSet<&str> = name
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|path| path.split_once("::").map(|(first, _)| first))
        .collect();
    let among = |names: &[&str]| names.iter().any(|name| crates.contains(name));
    if among(&["measure"]) || name == "main" {
        Owner::Measure
    } else if among(&["tuffet_agent"]) {
        part(name)
    } else if among(&["postcard", "serde", "serde_core", "cobs"]) {
        Owner::Records
    } else if among(&["crc"]) {
        Owner::Journal
    } else if among(&["tuffet_client"]) {
        Owner::Client
    } else if among(&[
        "p256",
        "ecdsa",
        "elliptic_curve",
        "primefield",
        "primeorder",
        "crypto_bigint",
        "wnaf",
        "ctutils",
        "cmov",
        "subtle",
        "der",
        "sec1",
        "signature",
        "ff",
        "group",
        "base16ct",
    ]) {
        Owner::P256
    } else if among(&["sha2", "digest", "block_buffer"]) {
        Owner::Sha2
    } else if among(&["compiler_builtins"]) || name.starts_with("__aeabi_") || name.starts_with("mem") {
        Owner::CompilerBuiltins
    } else if among(&["core"]) {
        Owner::Core
    } else {
        Owner::Other
    }
}

/// The part of the agent to which a symbol belongs.
fn part(name: &str) -> Owner {
    let module = name.split_once("tuffet_agent::").map_or("", |(_, module)| module);
    let module = module.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    match module {
        "journal" | "flash" | "flash_map" => Owner::Journal,
        "trust_store" | "progress" | "ledger" | "wire" => Owner::Records,
        "slot" => Owner::Slots,
        "boot" | "handover" => Owner::Boot,
        _ => Owner::Engine,
    }
}

/// The name in Rust's words, where it is one of the two kinds that it knows.
fn readable(symbol: &str) -> String {
    if let Some(rest) = symbol.strip_prefix("_ZN") {
        legacy(rest)
    } else if let Some(rest) = symbol.strip_prefix("_R") {
        v0(rest)
    } else {
        symbol.to_owned()
    }
}

/// What this toolchain makes: segments behind their lengths, a hash, `E`.
fn legacy(mut rest: &str) -> String {
    let mut segments = Vec::new();
    while let Some((segment, behind)) = identifier(rest, "") {
        segments.push(segment.strip_prefix('_').filter(|rest| rest.starts_with('$')).unwrap_or(segment));
        rest = behind;
    }
    if segments.last().is_some_and(|last| last.len() == 17 && last.starts_with('h')) {
        segments.pop();
    }
    let name = segments.join("::").replace("..", "::");
    let codes = [
        ("$LT$", "<"),
        ("$GT$", ">"),
        ("$RF$", "&"),
        ("$BP$", "*"),
        ("$LP$", "("),
        ("$RP$", ")"),
        ("$C$", ","),
        ("$u20$", " "),
        ("$u27$", "'"),
        ("$u5b$", "["),
        ("$u5d$", "]"),
        ("$u7b$", "{"),
        ("$u7d$", "}"),
        ("$u3b$", ";"),
        ("$u2b$", "+"),
    ];
    codes.into_iter().fold(name, |name, (code, text)| name.replace(code, text))
}

/// What the standard library was made with: its identifiers, in their order, without the grammar between them. A
/// crate is spelt out where it comes first.
fn v0(mut rest: &str) -> String {
    let mut segments = Vec::new();
    while let Some(first) = rest.chars().next() {
        rest = if let Some((segment, behind)) = identifier(rest, "_") {
            segments.push(segment);
            behind
        } else if matches!(first, 's' | 'B') {
            // A number in base 62, which ends here.
            rest.split_once('_').map_or("", |(_, behind)| behind)
        } else {
            rest.get(first.len_utf8()..).unwrap_or_default()
        };
    }
    segments.join("::")
}

/// A segment that stands behind its length and this separator, and the rest.
fn identifier<'s>(text: &'s str, separator: &str) -> Option<(&'s str, &'s str)> {
    let (length, behind) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let behind = behind.strip_prefix(separator).unwrap_or(behind);
    behind.split_at_checked(length.parse().ok()?)
}

/// An image for people: the longest symbols of client and agent, and the sum of each owner.
pub(crate) struct Report<'a>(pub(crate) &'a Image);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image { path, code, constants, .. } = self.0;
        let file = path.file_name().map(Path::new).unwrap_or(path).display();
        writeln!(f, "the longest of client and agent in {file}, in bytes:")?;
        let client = code.iter().filter(|(_, owner, _)| *owner <= Owner::Client);
        for (size, _, name) in client.take(SHOWN) {
            writeln!(f, "{size:8}  {name}")?;
        }
        writeln!(f, "all of {file}, by whose it is:")?;
        let mut sums = BTreeMap::<Owner, u64>::new();
        for (size, owner, _) in code {
            *sums.entry(*owner).or_default() += size;
        }
        for (owner, sum) in sums {
            writeln!(f, "{sum:8}  {owner}")?;
        }
        write!(f, "{constants:8}  rodata, and the 1,024 of the vector table")
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Owner::Journal => "agent: journal and flash",
            Owner::Records => "agent: records",
            Owner::Slots => "agent: slot writer",
            Owner::Boot => "agent: boot record and hand-over",
            Owner::Engine => "agent: engine",
            Owner::Client => "client",
            Owner::P256 => "p256 and what it needs",
            Owner::Sha2 => "sha2",
            Owner::Core => "core",
            Owner::CompilerBuiltins => "compiler_builtins",
            Owner::Other => "other crates",
            Owner::Measure => "the measuring program itself",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_of_either_mangling_is_readable() {
        for (symbol, name, whose) in [
            (
                "_ZN76_$LT$tuffet_client..role..Reading$u20$as$u20$tuffet_client..scan..Reader$GT$5value\
                 17h0123456789abcdefE",
                "<tuffet_client::role::Reading as tuffet_client::scan::Reader>::value",
                Owner::Client,
            ),
            (
                "_ZN13tuffet_client6crypto11verify_p25617h0123456789abcdefE.llvm.1",
                "tuffet_client::crypto::verify_p256",
                Owner::P256,
            ),
            (
                "_ZN7measure5cycle5calls4feed17h0123456789abcdefE",
                "measure::cycle::calls::feed",
                Owner::Client,
            ),
            ("_ZN7measure5cycle3run17h0123456789abcdefE", "measure::cycle::run", Owner::Measure),
            (
                "_RNvMNtNtCs2fZl91Oq0qp_4core4char7methodsc8to_digit",
                "core::char::methods::to_digit",
                Owner::Core,
            ),
            ("_RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind", "__rustc::rust_begin_unwind", Owner::Other),
            ("__aeabi_memclr4", "__aeabi_memclr4", Owner::CompilerBuiltins),
        ] {
            assert_eq!(readable(symbol), name);
            assert!(owner(name) == whose, "{name}: {}", owner(name));
        }
    }
}
