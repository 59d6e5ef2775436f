//! The people of the demo: key holders who meet once, and a release team that publishes.
//!
//! They do nothing that the commands `tuffet-keys` and `tuffet` do not do, by the same library calls and
//! through the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::passphrase::Passphrase;
use tuffet_keys::request::Request;
use tuffet_keys::root::Draft;

use super::thief::Thief;
use crate::Error;
use crate::config::{Config, Hardware};
use crate::publish::{self, Keys, Scope, Summary};
use crate::release::change::{self, Change, Changed};
use crate::release::{self, Ramp, Release, Staged, Wanted};
use crate::repository::Workspace;
use crate::staging::{self, Mode};
use crate::storage::Unwatched;

/// The product of the demo.
pub const PRODUCT: &str = "lamp";
/// The hardware of the device that is followed.
pub const HARDWARE: &str = "mps2-an385";
/// Another hardware of the same product.
pub const OTHER_HARDWARE: &str = "mps2-an500";
/// The channel of both.
pub const CHANNEL: &str = "stable";
/// The passphrase of every key file. These keys guard a demo.
pub const PASSPHRASE: &str = "tuffet demo";

const ROOT: [&str; 3] = ["root-a", "root-b", "root-c"];
const TARGETS: [&str; 3] = ["release-a", "release-b", "release-c"];
const ONLINE: [&str; 2] = ["snapshot", "timestamp"];
const DAY: u64 = 24 * 60 * 60;

/// A team with its keys and its repository.
pub struct Team {
    keys: BTreeMap<&'static str, Arc<SigningKey>>,
    directory: PathBuf,
    workspace: Workspace,
    now: u64,
    /// The metadata files after each publication, by name.
    history: Vec<BTreeMap<String, Vec<u8>>>,
}

/// What a build leaves behind to be released.
#[derive(Clone, Copy, Debug)]
pub struct Build<'b> {
    /// The image.
    pub image: &'b [u8],
    /// What it is for.
    pub hardware: &'b str,
    /// Its version, for people.
    pub version: &'b str,
    /// Its security counter; without one that of the newest release.
    pub counter: Option<u32>,
    /// Who gets it when; without one everybody, at once.
    pub rollout: Option<Ramp>,
}

impl<'b> Build<'b> {
    /// One that is for everybody, at once.
    #[must_use]
    pub fn new(image: &'b [u8], hardware: &'b str, version: &'b str) -> Self {
        Build { image, hardware, version, counter: None, rollout: None }
    }
}

/// How the root came to be signed.
pub struct Ceremony {
    /// The root file's request, for inspection.
    pub request: PathBuf,
    /// What the attempt to finish with one of two signatures ended with.
    pub with_one_signature: tuffet_keys::Error,
    /// The holders who signed.
    pub signers: [&'static str; 2],
    /// The first root.
    pub root: Vec<u8>,
}

/// How a targets request came to be signed.
pub struct Signing {
    /// What the attempt to publish with one of two signatures ended with.
    pub with_one_signature: Error,
    /// The holders who signed.
    pub signers: [&'static str; 2],
}

impl Team {
    /// Makes keys, signs a first root in separate runs, and sets a repository up below `directory`.
    ///
    /// `hardware` is what the product runs on; `now` in seconds since 1970.
    ///
    /// # Errors
    /// Whatever keeps a file from being written.
    pub fn found(
        directory: &Path,
        hardware: &[(&str, Hardware)],
        now: u64,
    ) -> Result<(Team, Ceremony), Error> {
        let drawer = directory.join("keys");
        fs::create_dir_all(&drawer).map_err(|error| Error::io("create", &drawer, &error))?;
        let passphrase = Passphrase::new(PASSPHRASE.as_bytes().to_vec().into())?;
        let mut keys = BTreeMap::new();
        for name in ROOT.into_iter().chain(TARGETS).chain(ONLINE) {
            let key = SigningKey::generate()?;
            key.write_new(&drawer.join(format!("{name}.pem")), &passphrase)?;
            keys.insert(name, Arc::new(key));
        }

        let mut draft = Draft::new(now, now + 365 * DAY);
        for (role, names, threshold) in [
            (Role::Root, ROOT.as_slice(), 2),
            (Role::Targets, &TARGETS, 2),
            (Role::Snapshot, &["snapshot"], 1),
            (Role::Timestamp, &["timestamp"], 1),
        ] {
            for name in names {
                draft.add_key(&role, keys[name].public())?;
            }
            draft.set_threshold(&role, threshold);
        }
        let ceremony = hold_ceremony(directory, &keys, &draft, now)?;

        let mut config = Config::new();
        let product = config.add_product(PRODUCT)?;
        for (name, hardware) in hardware {
            product.add_hardware(name, hardware.clone())?;
        }
        let workspace = Workspace::init(&directory.join("repository"), &ceremony.root, config, now)?;
        let directory = directory.to_owned();
        Ok((Team { keys, directory, workspace, now, history: Vec::new() }, ceremony))
    }

    /// The directory to serve.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.workspace.public()
    }

    /// The repository.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// A metadata file as it was after each publication, the oldest first.
    #[must_use]
    pub fn history(&self) -> &[BTreeMap<String, Vec<u8>>] {
        &self.history
    }

    /// Stages a release of a build.
    ///
    /// # Errors
    /// [`release::add`]'s.
    pub fn stage(&self, build: &Build<'_>) -> Result<Staged, Error> {
        let Build { image, hardware, version, counter, rollout } = *build;
        let builds = self.directory.join("builds").join(hardware).join(version);
        fs::create_dir_all(&builds).map_err(|error| Error::io("create", &builds, &error))?;
        let path = builds.join("lamp.bin");
        fs::write(&path, image).map_err(|error| Error::io("write", &path, &error))?;
        let release = Release {
            image: path,
            place: Wanted { product: None, hardware: hardware.to_owned(), channel: CHANNEL.to_owned() },
            version: Some(version.to_owned()),
            counter,
            minimum: 0,
            rollout,
            older: false,
        };
        release::add(&self.workspace, &release, self.now, Mode::Write)
    }

    /// Stages what becomes of the newest release for a hardware.
    ///
    /// # Errors
    /// [`change()`](change::change)'s.
    pub fn change(&self, hardware: &str, what: &Change) -> Result<Changed, Error> {
        let (hardware, channel) = (hardware.to_owned(), CHANNEL.to_owned());
        change::change(
            &self.workspace,
            &Wanted { product: None, hardware, channel },
            None,
            what,
            self.now,
            Mode::Write,
        )
    }

    /// Time passes. It does not go back.
    pub fn wait_until(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Two of the three release keys sign the staged targets, in separate runs; in between the team tries to
    /// publish what one of them signed.
    ///
    /// # Errors
    /// Whatever keeps the request from being signed.
    ///
    /// # Panics
    /// If one signature was enough: then nothing that the demo shows is worth anything.
    pub fn sign_targets(&self) -> Result<Signing, Error> {
        let [first, _, second] = TARGETS;
        let path = self.workspace.request_path(&Role::Targets);
        self.sign_file(&path, first)?;
        let with_one_signature =
            match publish::plan(&self.workspace, &self.online_keys(), &Scope::Staged, self.now) {
                Err(error) => error,
                Ok(_) => panic!("one of two signatures was enough to publish targets"),
            };
        self.sign_file(&path, second)?;
        Ok(Signing { with_one_signature, signers: [first, second] })
    }

    /// Publishes what is staged, or re-signs what is published.
    ///
    /// # Errors
    /// [`publish::plan`]'s.
    pub fn publish(&mut self) -> Result<Summary, Error> {
        let summary = publish::plan(&self.workspace, &self.online_keys(), &Scope::Staged, self.now)?
            .apply(&mut Unwatched)?;
        let mut files = BTreeMap::new();
        let public = self.public();
        let read = |error: &std::io::Error| Error::io("read", &public, error);
        for entry in fs::read_dir(&public).map_err(|error| read(&error))? {
            let entry = entry.map_err(|error| read(&error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                files.insert(name, fs::read(entry.path()).map_err(|error| read(&error))?);
            }
        }
        self.history.push(files);
        Ok(summary)
    }

    /// What a thief has who broke into the online machine, and into so many release holders' drawers.
    #[must_use]
    pub fn robbed(&self, drawers: usize) -> Thief {
        let key = |name: &str| Arc::clone(&self.keys[name]);
        let releases = [TARGETS[1], TARGETS[0], TARGETS[2]].into_iter().take(drawers).map(key).collect();
        Thief { snapshot: key("snapshot"), timestamp: key("timestamp"), releases }
    }

    /// Two root holders sign the next root, in which the online keys are others, and the team publishes under it.
    ///
    /// # Errors
    /// Whatever keeps it from being signed or published.
    pub fn replace_online_keys(&mut self) -> Result<Summary, Error> {
        self.replace(&[(Role::Snapshot, "snapshot"), (Role::Timestamp, "timestamp")])?;
        self.publish()
    }

    /// Two root holders sign the next root, in which the key of a release holder is another, and the team publishes under
    /// it. Who holds the old key can sign nothing any more.
    ///
    /// # Errors
    /// Whatever keeps it from being signed or published.
    pub fn replace_release_key(&mut self) -> Result<Summary, Error> {
        self.replace(&[(Role::Targets, TARGETS[1])])?;
        let path = self.workspace.request_path(&Role::Targets);
        if path.exists() {
            // What is published names the old key's holder no more, and is signed anew.
            for name in [TARGETS[0], TARGETS[2]] {
                self.sign_file(&path, name)?;
            }
        }
        self.publish()
    }

    fn replace(&mut self, keys: &[(Role, &'static str)]) -> Result<(), Error> {
        let roots = self.workspace.roots()?;
        let number = roots.chain.files().len() + 1;
        let mut draft = Draft::next(&roots.chain, self.now, self.now + 365 * DAY)?;
        let passphrase = Passphrase::new(PASSPHRASE.as_bytes().to_vec().into())?;
        for (role, name) in keys {
            let key = Arc::new(SigningKey::generate()?);
            key.write_new(&self.directory.join("keys").join(format!("{name}-{number}.pem")), &passphrase)?;
            draft.add_key(role, key.public())?;
            if let Some(old) = self.keys.insert(name, key) {
                draft.remove_key(role, old.public().keyid())?;
            }
        }
        let table = self.directory.join("ceremony");
        let path = table.join(format!("root-{number}.request.json"));
        Request::draft(Role::Root, &draft.signed()?, roots.chain.files())?.create(&path)?;
        for name in [ROOT[0], ROOT[2]] {
            self.sign_file(&path, name)?;
        }
        let file = table.join(format!("{number}.root.json"));
        let root = Request::read(&path)?.finish(self.now)?;
        fs::write(&file, &root).map_err(|error| Error::io("write", &file, &error))?;
        staging::add_root(&self.workspace, &file, self.now, Mode::Write)?;
        Ok(())
    }

    fn online_keys(&self) -> Keys {
        let key = |name: &str| vec![Arc::clone(&self.keys[name])];
        Keys { snapshot: key("snapshot"), timestamp: key("timestamp") }
    }

    fn sign_file(&self, path: &Path, name: &str) -> Result<(), Error> {
        let mut request = Request::read(path)?;
        request.sign(&self.keys[name])?;
        Ok(request.write(path)?)
    }
}

/// Each holder signs a copy of his own; the copies are merged, and one alone is not enough.
fn hold_ceremony(
    directory: &Path,
    keys: &BTreeMap<&'static str, Arc<SigningKey>>,
    draft: &Draft,
    now: u64,
) -> Result<Ceremony, Error> {
    let table = directory.join("ceremony");
    fs::create_dir_all(&table).map_err(|error| Error::io("create", &table, &error))?;
    let request = table.join("root.request.json");
    Request::draft(Role::Root, &draft.signed()?, &[])?.create(&request)?;

    let [first, second, _] = ROOT;
    for name in [first, second] {
        let mut copy = Request::read(&request)?;
        copy.sign(&keys[name])?;
        copy.create(&table.join(format!("{name}.json")))?;
    }
    let mut merged = Request::read(&table.join(format!("{first}.json")))?;
    let with_one_signature = match merged.finish(now) {
        Err(error) => error,
        Ok(_) => panic!("one of two signatures was enough to finish a root"),
    };
    merged.merge(&Request::read(&table.join(format!("{second}.json")))?)?;
    merged.create(&table.join("root.signed.json"))?;
    let root = merged.finish(now)?;
    let path = table.join("1.root.json");
    fs::write(&path, &root).map_err(|error| Error::io("write", &path, &error))?;
    Ok(Ceremony { request, with_one_signature, signers: [first, second], root })
}
