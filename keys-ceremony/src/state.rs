//! What a holder has verified or signed with his own machine. A request says what came before it, and that is its
//! sender's claim; this is what it is held against.
//!
//! ```text
//! DIRECTORY/<sha256 of the signed bytes of root 1>/
//!     1.root.json, 2.root.json, …                  each verified under the one before
//!     timestamp.json, snapshot.json, targets.json  the newest of each that was verified
//!     delegated/lamp.json                          the newest of each delegated role, by the roles that lead to it:
//!     delegated/lamp.d/rev-a.json                  `rev-a` below `lamp` is not `rev-a` below another role
//!     signed/targets.7                             the bytes of targets 7 that were signed here
//! ```
//!
//! A repository is the digest of its root 1, which its holder compared with the others once. The directory is as
//! trusted as the machine that it lies on, and holds nothing secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::delegation::{Step, Way};
use crate::encoding::{is_digest, sha256_hex};
use crate::file::{self, Access};
use crate::key::PublicKey;
use crate::metadata::{Envelope, Header, Role};
use crate::published::read_key;
use crate::request::Request;
use crate::root::{Chain, Root};
use crate::{Environment, Error, Misuse, Rejected, canonical};

/// Where the files of delegated roles lie: their names are their authors' choice.
const DELEGATED: &str = "delegated";

/// How a directory's name ends that holds what is below a role. No file's name does.
const BELOW: &str = ".d";

/// All repositories that a holder knows.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Repository {
    directory: PathBuf,
    digest: String,
    chain: Chain,
    /// The signed bytes of each root of the chain.
    roots: Vec<Vec<u8>>,
    /// The newest that was verified of each role but root; of a delegated one by the roles from targets down to it, for
    /// two roles may delegate to others of one name.
    verified: BTreeMap<Vec<Role>, (Header, Value)>,
    /// The newest bytes of each role that were signed here, with their version.
    signed: BTreeMap<Role, (u32, Vec<u8>)>,
    /// Ways below which nothing is kept that is not signed, since the last file was taken over.
    settled: BTreeSet<Vec<Role>>,
}

/// What a request is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    /// Nothing of this role was seen here.
    Nothing,
    /// The newest that was verified here.
    Verified(Value),
    /// What was signed here, and was not seen since with signatures enough.
    Signed(Value),
}

impl Before {
    /// What came before, as it was signed.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Before::Nothing => None,
            Before::Verified(value) | Before::Signed(value) => Some(value),
        }
    }
}

impl State {
    /// In this directory, which need not exist.
    pub fn at(directory: PathBuf) -> State {
        State { directory }
    }

    /// What is known of the repository whose root 1 has this digest; `None` if the holder never agreed to it.
    ///
    /// # Errors
    /// [`Environment::StateDamaged`], and [`Environment::Io`].
    pub fn repository(&self, digest: &str) -> Result<Option<Repository>, Error> {
        let directory = self.directory.join(digest);
        if !directory.is_dir() {
            return Ok(None);
        }
        let repository = Repository::read(directory, digest.to_owned())?;
        // A directory alone is no agreement: its first root was verified here, or signed.
        let agreed = !repository.roots.is_empty() || repository.signed_root_1()?;
        Ok(agreed.then_some(repository))
    }

    /// Agrees to a repository for good: `root` is its first root file.
    ///
    /// # Errors
    /// [`Rejected`], for what is no first root, and [`Environment::Io`].
    pub fn trust(&self, root: &[u8]) -> Result<Repository, Error> {
        let chain = Chain::verify(&[root.to_vec()])?;
        let digest = sha256_hex(chain.first_payload().unwrap_or_default());
        let mut repository = self.begin(&digest)?;
        repository.learn(&Role::Root, root)?;
        Ok(repository)
    }

    /// Remembers that a request was signed here, and the roots that it brought. Who signs a first root agrees to its
    /// repository.
    ///
    /// # Errors
    /// As [`Repository::check`], and [`Environment::Io`].
    pub fn remember(&self, request: &Request) -> Result<(), Error> {
        self.begin(&request.repository())?.remember(request)
    }

    /// The keys that the newest known roots of all other repositories name, with the digests of those; and the digests
    /// of those that are damaged, which must not stop the work on this one.
    ///
    /// # Errors
    /// [`Environment::Io`].
    pub fn keys_elsewhere(&self, digest: &str) -> Result<(BTreeMap<PublicKey, String>, Vec<String>), Error> {
        let (mut keys, mut damaged) = (BTreeMap::new(), Vec::new());
        for other in self.repositories()?.into_iter().filter(|other| other != digest) {
            match self.repository(&other) {
                Ok(Some(repository)) => {
                    keys.extend(repository.keys().into_iter().map(|key| (key, other.clone())));
                }
                Ok(None) => {}
                Err(Error::Environment { why: Environment::StateDamaged { .. }, .. }) => damaged.push(other),
                Err(error) => return Err(error),
            }
        }
        Ok((keys, damaged))
    }

    /// The digests of all known repositories, sorted.
    ///
    /// # Errors
    /// [`Environment::Io`].
    pub fn repositories(&self) -> Result<Vec<String>, Error> {
        let mut names = names_in(&self.directory)?;
        names.retain(|name| is_digest(name));
        Ok(names)
    }

    /// The repository of this digest, which begins to be known if it is not: for who signs several requests, and
    /// [remembers](Repository::remember) each.
    ///
    /// # Errors
    /// [`Environment::StateDamaged`], and [`Environment::Io`].
    pub fn begin(&self, digest: &str) -> Result<Repository, Error> {
        let directory = self.directory.join(digest);
        create_directory(&directory)?;
        Repository::read(directory, digest.to_owned())
    }
}

impl Repository {
    /// Reads it from its directory. Bytes that are bad there were good once: it is not their sender's fault.
    fn read(directory: PathBuf, digest: String) -> Result<Repository, Error> {
        let place = directory.clone();
        Repository::read_files(directory, digest).map_err(|error| match error {
            Error::Rejected { .. } => {
                let message = error.to_string();
                let message = message.split_once("; ").map_or(&*message, |(what, _)| what).to_owned();
                Error::from(Environment::StateDamaged { message }).in_file(&place)
            }
            other => other,
        })
    }

    fn read_files(directory: PathBuf, digest: String) -> Result<Repository, Error> {
        let mut files = Vec::new();
        loop {
            let path = directory.join(format!("{}.root.json", files.len() + 1));
            match path.try_exists() {
                Ok(true) => files.push(file::read(&path)?),
                Ok(false) => break,
                Err(error) => return Err(Error::io("read", &path, &error)),
            }
        }
        let damaged = |message: &str| {
            Err(Error::from(Environment::StateDamaged { message: message.to_owned() }).in_file(&directory))
        };
        let names = names_in(&directory)?;
        if names.iter().filter(|name| name.ends_with(".root.json")).count() != files.len() {
            return damaged("a root is missing before a later one");
        }
        let chain = Chain::verify(&files)?;
        match chain.first_payload() {
            Some(payload) if sha256_hex(payload) != digest => {
                return damaged("its root 1 is that of another repository");
            }
            _ => {}
        }
        let roots = files.iter().map(|file| payload_of(file)).collect::<Result<_, _>>()?;
        let mut repository = Repository {
            directory,
            digest,
            chain,
            roots,
            verified: BTreeMap::new(),
            signed: BTreeMap::new(),
            settled: BTreeSet::new(),
        };
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            repository.read_verified(vec![role])?;
        }
        repository.read_below(&repository.directory.join(DELEGATED), &[Role::Targets])?;
        repository.read_signed()?;
        Ok(repository)
    }

    /// Reads what was verified of the role at the end of a way, if anything was.
    fn read_verified(&mut self, way: Vec<Role>) -> Result<(), Error> {
        let path = self.file_of(&way);
        if let (true, Some(role)) = (path.exists(), way.last()) {
            let (header, signed) =
                read_as(role, &file::read(&path)?).map_err(|error| error.in_file(&path))?;
            self.verified.insert(way, (header, signed));
        }
        Ok(())
    }

    /// The same for all that is below a way.
    fn read_below(&mut self, directory: &Path, above: &[Role]) -> Result<(), Error> {
        for name in names_in(directory)? {
            let below = |stem: &str| {
                let role = Role::from_file_stem(stem)?;
                Some(above.iter().cloned().chain([role]).collect::<Vec<Role>>())
            };
            if let Some(way) = name.strip_suffix(".json").and_then(below) {
                self.read_verified(way)?;
            } else if let Some(way) = name.strip_suffix(BELOW).and_then(below) {
                self.read_below(&directory.join(&name), &way)?;
            }
        }
        Ok(())
    }

    fn read_signed(&mut self) -> Result<(), Error> {
        let directory = self.directory.join("signed");
        for name in names_in(&directory)? {
            let parts = name.rsplit_once('.');
            let parts = parts.and_then(|(role, version)| {
                Some((Role::from_file_stem(role)?, version.parse::<u32>().ok()?))
            });
            let Some((role, version)) = parts else { continue };
            if self.signed.get(&role).is_none_or(|(newest, _)| *newest < version) {
                let payload = file::read(&directory.join(name))?;
                canonical::parse_signed(&payload)?;
                self.signed.insert(role, (version, payload));
            }
        }
        Ok(())
    }

    /// As [`State::remember`].
    ///
    /// # Errors
    /// As there.
    pub fn remember(&mut self, request: &Request) -> Result<(), Error> {
        self.check(request)?;
        for root in request.chain().files() {
            self.learn(&Role::Root, root)?;
        }
        self.learn_way(request)?;
        let path = self.signed_file(request);
        create_directory(&self.directory.join("signed"))?;
        file::replace(&path, request.payload(), Access::Private)
    }

    /// Whether the first root was signed here.
    fn signed_root_1(&self) -> Result<bool, Error> {
        let path = self.directory.join("signed/root.1");
        Ok(path.exists() && sha256_hex(&file::read(&path)?) == self.digest)
    }

    /// The digest of root 1, by which it goes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The newest version that was verified of a role.
    pub fn version(&self, role: &Role) -> Option<u32> {
        match role {
            Role::Root => u32::try_from(self.roots.len()).ok().filter(|version| *version > 0),
            other => self.verified.get(&[other.clone()][..]).map(|(header, _)| header.version),
        }
    }

    /// The keys of the newest root, of the bytes of one that were signed here, and of delegations.
    fn keys(&self) -> BTreeSet<PublicKey> {
        let signed =
            self.signed.get(&Role::Root).and_then(|(_, payload)| canonical::parse_signed(payload).ok());
        let signed = signed.and_then(|signed| Root::from_signed(&signed).ok());
        let roots = self.chain.last().into_iter().chain(signed.as_ref());
        let top = roots.flat_map(|root| root.roles.values()).flat_map(|role| role.keys.values().cloned());
        let delegated =
            self.verified.values().filter_map(|(_, signed)| signed["delegations"]["keys"].as_object());
        top.chain(delegated.flat_map(|keys| keys.values()).filter_map(read_key)).collect()
    }

    /// Whether a request goes on from here: its roots are these, or theirs go further, and it is not behind what was
    /// verified.
    ///
    /// # Errors
    /// [`Rejected::ForkedRoot`] or [`Rejected::StaleRequest`].
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        let Header { role, version, .. } = request.header();
        let offered = request.chain().files();
        // What is offered as root N+1 is held against the N+1 that is known, too.
        let mut payloads = offered.iter().map(|file| payload_of(file)).collect::<Result<Vec<_>, _>>()?;
        if *role == Role::Root {
            payloads.push(request.payload().to_vec());
        }
        for ((ours, theirs), version) in self.roots.iter().zip(&payloads).zip(1..) {
            if ours != theirs {
                return Err(Rejected::ForkedRoot { version }.into());
            }
        }
        let stale = |what: &Role, known: u32, offered: u32| {
            Err(Rejected::StaleRequest { what: what.to_string(), known, offered }.into())
        };
        if payloads.len() < self.roots.len() {
            let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            return stale(&Role::Root, number(self.roots.len()), number(payloads.len()));
        }
        let brought = steps_of(request).map(|(way, step)| (way, step.version, Some(&step.signed)));
        // What it asks to sign is decoded only if there is something to compare it with.
        for (way, version, signed) in brought.chain([(way_of(request), *version, None)]) {
            let role = way.last().unwrap_or(role);
            match self.verified.get(&way) {
                Some((header, _)) if version < header.version => return stale(role, header.version, version),
                Some((header, value))
                    if version == header.version && value != signed.unwrap_or_else(|| request.signed()) =>
                {
                    return stale(role, header.version, version);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What this request is compared with: what was verified last, or what was signed here since.
    ///
    /// # Errors
    /// [`Rejected`], for a directory that was damaged.
    pub fn before(&self, request: &Request) -> Result<Before, Error> {
        let Header { role, version, .. } = request.header();
        if *role == Role::Root {
            // The newest before it that was verified *here*: what the request brings beyond that its sender chose.
            let known = self.roots.len().min(version.saturating_sub(1) as usize);
            return Ok(match known.checked_sub(1).and_then(|last| self.roots.get(last)) {
                Some(payload) => Before::Verified(canonical::parse_signed(payload)?),
                None => Before::Nothing,
            });
        }
        let verified = self.verified.get(&way_of(request)).filter(|(header, _)| header.version < *version);
        let signed = self.signed.get(role).filter(|(signed, _)| {
            *signed < *version && verified.is_none_or(|(header, _)| header.version < *signed)
        });
        Ok(match (signed, verified) {
            (Some((_, payload)), _) => Before::Signed(canonical::parse_signed(payload)?),
            (None, Some((_, value))) => Before::Verified(value.clone()),
            (None, None) => Before::Nothing,
        })
    }

    /// The newest root that was verified here, and the one that the request brings, if that is a later one.
    pub fn root_brought(&self, request: &Request) -> Result<Option<(Value, Value)>, Error> {
        let files = request.chain().files();
        let (Some(known), Some(brought)) = (self.roots.last(), files.last()) else { return Ok(None) };
        if files.len() <= self.roots.len() {
            return Ok(None);
        }
        Ok(Some((canonical::parse_signed(known)?, Envelope::parse(brought)?.signed)))
    }

    /// Versions of roots of the request's chain of which other bytes were signed here.
    pub fn other_roots(&self, request: &Request) -> Result<Vec<u32>, Error> {
        let mut others = Vec::new();
        for (file, version) in request.chain().files().iter().zip(1..) {
            let path = self.directory.join("signed").join(format!("root.{version}"));
            if path.exists() && file::read(&path)? != payload_of(file)? {
                others.push(version);
            }
        }
        Ok(others)
    }

    /// The newest version of a role that was signed here.
    pub fn newest_signed(&self, role: &Role) -> Option<u32> {
        self.signed.get(role).map(|(version, _)| *version)
    }

    /// Other bytes of the same role and version that were signed here.
    pub fn signed_another(&self, request: &Request) -> Result<bool, Error> {
        let path = self.signed_file(request);
        Ok(path.exists() && file::read(&path)? != request.payload())
    }

    /// The files that are newer than what was verified here, of those that lead to the delegated role of a request, and
    /// what was verified.
    pub fn way_brought<'r>(&'r self, request: &'r Request) -> Vec<(&'r Step, Option<&'r (Header, Value)>)> {
        let known = steps_of(request).map(|(way, step)| (step, self.verified.get(&way)));
        known.filter(|(step, known)| known.is_none_or(|(header, _)| header.version < step.version)).collect()
    }

    /// Takes over the files that lead to the delegated role of a request.
    ///
    /// # Errors
    /// As [`Repository::learn`].
    pub fn learn_way(&mut self, request: &Request) -> Result<(), Error> {
        for (way, step) in steps_of(request).collect::<Vec<_>>() {
            self.learn_by(way, &step.file)?;
        }
        Ok(())
    }

    /// Takes over the file that a request became, by the way that the request has.
    ///
    /// # Errors
    /// As [`Repository::learn`].
    pub fn learn_finished(&mut self, request: &Request, bytes: &[u8]) -> Result<(), Error> {
        self.learn_way(request)?;
        match request.header().role {
            Role::Delegated(_) => self.learn_by(way_of(request), bytes).map(drop),
            _ => self.learn(&request.header().role, bytes).map(drop),
        }
    }

    /// Takes over a finished metadata file of a role, if the roots that are known say that it is signed, or for a
    /// delegated role the targets files that are. Whether it was new.
    ///
    /// # Errors
    /// [`Rejected`], also for a root that is not the one of that version that is known, and
    /// [`Environment::Io`].
    pub fn learn(&mut self, role: &Role, bytes: &[u8]) -> Result<bool, Error> {
        let Role::Delegated(name) = role else { return self.learn_by(vec![role.clone()], bytes) };
        // By every way by whose keys it is signed; it is refused if there is none.
        let (mut new, mut taken, mut refused) = (false, false, None);
        for way in self.ways_to(name)? {
            let way = way.roles().chain([role]).cloned().collect();
            match self.learn_by(way, bytes) {
                Ok(learned) => (new, taken) = (new | learned, true),
                Err(error @ Error::Rejected { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if !taken => Err(error),
            _ => Ok(new),
        }
    }

    /// Takes over the file of the role at the end of a way.
    fn learn_by(&mut self, way: Vec<Role>, bytes: &[u8]) -> Result<bool, Error> {
        let Some((role, above)) = way.split_last() else { return Ok(false) };
        let (header, signed) = read_as(role, bytes)?;
        if header.role == Role::Root {
            return self.learn_root(bytes, &signed, header.version);
        }
        self.accepts(&way, header.version, bytes)?;
        if self.verified.get(&way).is_some_and(|(known, _)| header.version <= known.version) {
            // Somebody may have been stopped between the two. Looked at once: hundreds of bins come by one way.
            if self.settled.insert(way.clone()) {
                self.forget_unsigned(&way)?;
            }
            return Ok(false);
        }
        let path = self.file_of(&way);
        if !above.is_empty() {
            create_directory(path.parent().unwrap_or(&self.directory))?;
        }
        file::replace(&path, bytes, Access::Private)?;
        self.verified.insert(way.clone(), (header, signed));
        self.settled.clear();
        self.forget_unsigned(&way)?;
        Ok(true)
    }

    /// Whether enough of those who sign for the role at the end of a way have signed a file.
    fn accepts(&self, way: &[Role], version: u32, bytes: &[u8]) -> Result<(), Error> {
        let Some(role) = way.last() else { return Ok(()) };
        self.judged(way, bytes)?.map_err(|refusal| {
            let (what, code) = (format!("{role} version {version}"), refusal.code());
            Rejected::DeviceRefuses { what, code, message: refusal.to_string() }.into()
        })
    }

    /// The same in the verifier's words.
    fn judged(&self, way: &[Role], bytes: &[u8]) -> Result<Result<(), tuffet_client::Error>, Error> {
        let Some((role, above)) = way.split_last() else { return Ok(Ok(())) };
        Ok(match role {
            Role::Delegated(name) => {
                let mut files = Vec::new();
                for count in 1..=above.len() {
                    files.push((&above[count - 1], file::read(&self.file_of(&above[..count]))?));
                }
                let files = files.iter().map(|(role, file)| (*role, &file[..]));
                Way::verify(&self.chain, files)?.accepts(name, bytes)?
            }
            _ => self.chain.accepts(role, bytes),
        })
    }

    /// What was verified of a top-level role but root: the `signed` value.
    pub fn newest(&self, role: &Role) -> Option<&Value> {
        self.verified.get(&[role.clone()][..]).map(|(_, signed)| signed)
    }

    /// The ways to a delegated role through what was verified here.
    ///
    /// # Errors
    /// As [`Way::all`], and [`Environment::Io`].
    pub fn ways_to(&self, name: &str) -> Result<Vec<Way>, Error> {
        Way::all(&self.chain, name, |way| match self.verified.contains_key(way) {
            true => file::read(&self.file_of(way)).map(Some),
            false => Ok(None),
        })
    }

    /// Whether [`Repository::learn`] would take this file, or has it.
    ///
    /// # Errors
    /// As [`Repository::learn`].
    pub fn would_learn(&self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        let (header, signed) = read_as(role, bytes)?;
        let known = usize::try_from(header.version).ok().and_then(|version| self.roots.get(version - 1));
        let version = header.version;
        if header.role == Role::Root {
            self.check_next(version)?;
        }
        match (&header.role, known) {
            (Role::Root, Some(known)) if *known == canonical::signed_bytes(&signed)? => Ok(()),
            (Role::Root, Some(_)) => Err(Rejected::ForkedRoot { version }.into()),
            (Role::Root, None)
                if version == 1 && sha256_hex(&canonical::signed_bytes(&signed)?) != self.digest =>
            {
                Err(Rejected::ForkedRoot { version }.into())
            }
            (Role::Delegated(name), _) => {
                let mut refused = None;
                for way in self.ways_to(name)? {
                    let way: Vec<Role> = way.roles().chain([role]).cloned().collect();
                    match self.accepts(&way, version, bytes) {
                        Ok(()) => return Ok(()),
                        Err(error) => refused = refused.or(Some(error)),
                    }
                }
                refused.map_or(Ok(()), Err)
            }
            _ => self.accepts(core::slice::from_ref(role), version, bytes),
        }
    }

    fn learn_root(&mut self, bytes: &[u8], signed: &Value, version: u32) -> Result<bool, Error> {
        let payload = canonical::signed_bytes(signed)?;
        if let Some(known) = usize::try_from(version).ok().and_then(|version| self.roots.get(version - 1)) {
            return if *known == payload { Ok(false) } else { Err(Rejected::ForkedRoot { version }.into()) };
        }
        if version == 1 && sha256_hex(&payload) != self.digest {
            return Err(Rejected::ForkedRoot { version }.into());
        }
        self.check_next(version)?;
        let files: Vec<Vec<u8>> = self.chain.files().iter().cloned().chain([bytes.to_vec()]).collect();
        self.chain = Chain::verify(&files)?;
        file::replace(&self.directory.join(format!("{version}.root.json")), bytes, Access::Private)?;
        self.roots.push(payload);
        self.settled.clear();
        self.forget_unsigned(&[])?;
        Ok(true)
    }

    /// Whether a root of this version is known, or follows the newest that is.
    fn check_next(&self, version: u32) -> Result<(), Error> {
        let known = u32::try_from(self.roots.len()).unwrap_or(u32::MAX);
        if version > known.saturating_add(1) {
            return Err(Misuse::RootsMissing { version, known }.into());
        }
        Ok(())
    }

    /// TUF 5.3.11, for a holder too: what the keys of today did not sign is no floor any more, be its version 4294967295.
    /// What is below a way is looked at, for a new file there changes nothing elsewhere; below none it is all.
    fn forget_unsigned(&mut self, above: &[Role]) -> Result<(), Error> {
        loop {
            let below = self.verified.keys().filter(|way| way.len() > above.len() && way.starts_with(above));
            let ways: Vec<Vec<Role>> = below.cloned().collect();
            let mut gone = false;
            for way in ways {
                let path = self.file_of(&way);
                // What cannot be judged is kept: nobody has said that others sign for the role now.
                let unsigned = match self.judged(&way, &file::read(&path)?) {
                    Ok(judged) => judged.is_err_and(|refusal| refusal.is_unmet()),
                    Err(Error::Rejected { why: Rejected::NotDelegated { .. }, .. }) => true,
                    // A role on the way to it is gone.
                    Err(Error::Environment { .. }) => {
                        (1..way.len()).any(|end| !self.file_of(&way[..end]).exists())
                    }
                    _ => false,
                };
                if unsigned {
                    fs::remove_file(&path).map_err(|error| Error::io("remove", &path, &error))?;
                    self.verified.remove(&way);
                    gone = true;
                }
            }
            if !gone {
                return Ok(());
            }
        }
    }

    /// Where the newest file lies of the role at the end of a way.
    fn file_of(&self, way: &[Role]) -> PathBuf {
        let Some((role, above)) = way.split_last() else { return self.directory.clone() };
        let mut directory = self.directory.clone();
        if !above.is_empty() {
            directory.push(DELEGATED);
        }
        for role in above.iter().skip(1) {
            directory.push(format!("{}{BELOW}", role.file_stem()));
        }
        directory.join(format!("{}.json", role.file_stem()))
    }

    /// Where the bytes lie that were signed here of a request's role and version.
    fn signed_file(&self, request: &Request) -> PathBuf {
        let Header { role, version, .. } = request.header();
        self.directory.join("signed").join(format!("{}.{version}", role.file_stem()))
    }
}

/// The roles from targets down to that of a request, or that role alone if it is none that was delegated to.
fn way_of(request: &Request) -> Vec<Role> {
    let above = request.way().into_iter().flat_map(Way::roles);
    above.chain([&request.header().role]).cloned().collect()
}

/// The files that lead to the delegated role of a request, each with the roles from targets down to its own.
fn steps_of(request: &Request) -> impl Iterator<Item = (Vec<Role>, &Step)> {
    let way = way_of(request);
    let steps = request.way().into_iter().flat_map(Way::steps).zip(1..);
    steps.map(move |(step, end)| (way[..end].to_vec(), step))
}

/// Header and `signed` value of a file of this role.
fn read_as(role: &Role, bytes: &[u8]) -> Result<(Header, Value), Error> {
    let Envelope { signed, .. } = Envelope::parse(bytes)?;
    let header = Header::from_signed(&signed)?.of(role)?;
    Ok((header, signed))
}

fn payload_of(file: &[u8]) -> Result<Vec<u8>, Error> {
    canonical::signed_bytes(&Envelope::parse(file)?.signed)
}

fn create_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, &error))
}

/// What lies in a directory, sorted; nothing, if there is none.
fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let fail = |error| Error::io("read", directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_, _>>().map_err(fail)?;
    names.sort();
    Ok(names)
}
