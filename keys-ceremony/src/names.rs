//! Names of keys for people: those of the files that hold the public keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::short;
use crate::key::PublicKey;
use crate::text::plain;
use crate::{Error, Misuse};

/// What a public key's file is called: `release-a.pub.pem` is the key of release-a.
const ENDING: &str = ".pub.pem";

/// Names by keyid. They come from whoever runs the tool, never from what is looked at.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Reads public key files, and of directories every file that ends in `.pub.pem`.
    ///
    /// # Errors
    /// [`Misuse::NoNames`] for a directory without one, [`Environment::Io`](crate::Environment::Io), or what is
    /// wrong with a key.
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
            if found.is_empty() {
                return Err(Error::from(Misuse::NoNames).in_file(path));
            }
            // Of two files of one key the first gives the name, on every machine.
            found.sort();
            found.iter().try_for_each(|file| names.add(file))?;
        }
        Ok(names)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let key = PublicKey::read(path)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = file.strip_suffix(ENDING).or_else(|| file.strip_suffix(".pem")).unwrap_or(&file);
        self.0.entry(key.keyid().to_owned()).or_insert_with(|| plain(name));
        Ok(())
    }

    /// The name of a key, if it has one.
    pub fn known(&self, keyid: &str) -> Option<&str> {
        self.0.get(keyid).map(String::as_str)
    }

    /// The name of a key, or the beginning of its keyid.
    pub fn of(&self, keyid: &str) -> String {
        self.0.get(keyid).cloned().unwrap_or_else(|| plain(short(keyid)))
    }
}
