//! Names of keys for people: those of the files that hold the public keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::short;
use crate::key::PublicKey;
use crate::text::plain;
use crate::{Error, Misuse, Rejected};

/// What a public key's file is called: `release-a.pub.pem` is the key of release-a.
const ENDING: &str = ".pub.pem";

/// Names by keyid, those of one key in the order in which they were read. They come from whoever runs the tool, never
/// from what is looked at.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, Vec<String>>);

impl Names {
    /// Reads public key files, and of directories every file that ends in `.pub.pem`. What is no key of ours, an Ed25519
    /// key or one of a person, may lie there too and is skipped.
    ///
    /// # Errors
    /// [`Misuse::NoNames`] for a directory without one, [`Environment::Io`](crate::Environment::Io), or what is
    /// wrong with a key in a file that was named itself.
    pub fn read(paths: &[PathBuf]) -> Result<Names, Error> {
        let mut names = Names::default();
        for path in paths {
            if !path.is_dir() {
                names.add(path)?;
                continue;
            }
            let fail = |error: std::io::Error| Error::io("read", path, &error);
            let mut found = Vec::new();
            for entry in fs::read_dir(path).map_err(fail)? {
                let file = entry.map_err(fail)?.path();
                if file.to_string_lossy().ends_with(ENDING) {
                    found.push(file);
                }
            }
            // Of two files of one key the same gives the first name on every machine.
            found.sort();
            let mut ours = 0;
            for file in &found {
                match names.add(file) {
                    Ok(()) => ours += 1,
                    Err(Error::Rejected {
                        why: Rejected::NotAKey { .. } | Rejected::UnsupportedKey { .. },
                        ..
                    }) => {}
                    Err(error) => return Err(error),
                }
            }
            if ours == 0 {
                return Err(Error::from(Misuse::NoNames).in_file(path));
            }
        }
        Ok(names)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let key = PublicKey::read(path)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = plain(file.strip_suffix(ENDING).or_else(|| file.strip_suffix(".pem")).unwrap_or(&file));
        let known = self.0.entry(key.keyid().to_owned()).or_default();
        if !known.contains(&name) {
            known.push(name);
        }
        Ok(())
    }

    /// The name of a key, "root-a", with its others behind it, "root-a (also spare-a)", so that a key that lies twice
    /// under two holders' names is seen; none, if it has none.
    pub fn known(&self, keyid: &str) -> Option<String> {
        match self.0.get(keyid).map(Vec::as_slice) {
            None | Some([]) => None,
            Some([name]) => Some(name.clone()),
            Some([name, others @ ..]) => Some(format!("{name} (also {})", others.join(", "))),
        }
    }

    /// The name of a key, or the beginning of its keyid.
    pub fn of(&self, keyid: &str) -> String {
        self.known(keyid).unwrap_or_else(|| plain(short(keyid)))
    }
}
