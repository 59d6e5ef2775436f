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
//!     signed/lamp.3, signed/lamp.d/rev-a.4         of delegated roles, by the roles that lead to them
//! ```
//!
//! A repository is the digest of its root 1, which its holder compared with the others once. The directory is as
//! trusted as the machine that it lies on, and holds nothing secret.

use core::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::delegation::{Step, Way};
use crate::encoding::{is_digest, sha256_hex};
use crate::file::{self, Access};
use crate::key::PublicKey;
use crate::metadata::{Header, Role};
use crate::published::read_key;
use crate::request::Request;
use crate::root::{Chain, Root};
use crate::signed::Signed;
use crate::{Environment, Error, Misuse, Rejected, canonical};

/// Where the files of delegated roles lie: their names are their authors' choice.
const DELEGATED: &str = "delegated";

/// Where the bytes lie that were signed.
const SIGNED: &str = "signed";

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
    verified: BTreeMap<Vec<Role>, Verified>,
    /// The newest version that was signed here, by the way, of those roles that somebody asked for.
    newest_signed: RefCell<BTreeMap<Vec<Role>, Option<u32>>>,
    /// Ways below which nothing is kept that is not signed, since the last file was taken over.
    settled: BTreeSet<Vec<Role>>,
}

/// A file that is there, which is read when somebody asks what it says: of hash bins there may be thousands.
#[derive(Clone, Debug, Default)]
struct Verified(OnceCell<Rc<Signed>>);

/// What a request is compared with.
#[derive(Clone, Debug)]
pub enum Before {
    /// Nothing of this role was seen here.
    Nothing,
    /// The newest that was verified here.
    Verified(Rc<Signed>),
    /// What was signed here, and was not seen since with signatures enough.
    Signed(Rc<Signed>),
}

impl Before {
    /// What came before, as it was signed.
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Before::Nothing => None,
            Before::Verified(signed) | Before::Signed(signed) => Some(signed),
        }
    }

    /// Its version.
    pub fn version(&self) -> Option<u32> {
        self.signed().map(|signed| signed.header().version)
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
            let known = self.repository(&other);
            match known.and_then(|known| known.map_or(Ok(BTreeSet::new()), |known| known.keys())) {
                Ok(repository) => {
                    keys.extend(repository.into_iter().map(|key| (key, other.clone())));
                }
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
        Repository::read_files(directory, digest).map_err(|error| damaged(error, &place))
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
        let wrong = |message: &str| {
            Err(Error::from(Environment::StateDamaged { message: message.to_owned() }).in_file(&directory))
        };
        let names = names_in(&directory)?;
        if names.iter().filter(|name| name.ends_with(".root.json")).count() != files.len() {
            return wrong("a root is missing before a later one");
        }
        let chain = Chain::verify(&files)?;
        match chain.first_payload() {
            Some(payload) if sha256_hex(payload) != digest => {
                return wrong("its root 1 is that of another repository");
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
            newest_signed: RefCell::default(),
            settled: BTreeSet::new(),
        };
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            let way = vec![role];
            if repository.file_of(&way).exists() {
                repository.verified.insert(way, Verified::default());
            }
        }
        repository.find_below(&repository.directory.join(DELEGATED), &[Role::Targets])?;
        Ok(repository)
    }

    /// Finds all that was verified below a way.
    fn find_below(&mut self, directory: &Path, above: &[Role]) -> Result<(), Error> {
        for name in names_in(directory)? {
            let below = |stem: &str| {
                let role = Role::from_file_stem(stem)?;
                Some(above.iter().cloned().chain([role]).collect::<Vec<Role>>())
            };
            if let Some(way) = name.strip_suffix(".json").and_then(below) {
                self.verified.insert(way, Verified::default());
            } else if let Some(way) = name.strip_suffix(BELOW).and_then(below) {
                self.find_below(&directory.join(&name), &way)?;
            }
        }
        Ok(())
    }

    /// The newest version that was signed here of the role at the end of a way.
    fn newest_signed_by(&self, way: &[Role]) -> Result<Option<u32>, Error> {
        let Some(role) = way.last() else { return Ok(None) };
        if let Some(known) = self.newest_signed.borrow().get(way) {
            return Ok(*known);
        }
        let any = self.signed_file(way, 0);
        let beginning = format!("{}.", role.file_stem());
        let names = names_in(any.parent().unwrap_or(&self.directory))?;
        let versions = names.iter().filter_map(|name| {
            let end = name.strip_prefix(&beginning)?;
            end.parse::<u32>().ok().filter(|version| version.to_string() == end)
        });
        let newest = versions.max();
        self.newest_signed.borrow_mut().insert(way.to_vec(), newest);
        Ok(newest)
    }

    /// What was verified of the role at the end of a way.
    fn verified(&self, way: &[Role]) -> Result<Option<&Rc<Signed>>, Error> {
        let (Some(Verified(read)), Some(role)) = (self.verified.get(way), way.last()) else {
            return Ok(None);
        };
        if read.get().is_none() {
            let path = self.file_of(way);
            // Another process may have forgotten it since.
            if !path.exists() {
                return Ok(None);
            }
            let signed = file::read(&path).and_then(|file| Signed::of_file(&file)?.of(role));
            let _ = read.set(Rc::new(signed.map_err(|error| damaged(error, &path))?));
        }
        Ok(read.get())
    }

    /// The bytes of a verified file, which was looked at.
    fn verified_file(&self, way: &[Role]) -> Result<Option<Vec<u8>>, Error> {
        self.verified(way)?.map(|_| file::read(&self.file_of(way))).transpose()
    }

    /// The newest bytes that were signed here of the role at the end of a way.
    fn signed(&self, way: &[Role]) -> Result<Option<Signed>, Error> {
        let (Some(version), Some(role)) = (self.newest_signed_by(way)?, way.last()) else {
            return Ok(None);
        };
        let path = self.signed_file(way, version);
        let signed = file::read(&path).and_then(|bytes| Signed::read(bytes)?.of(role));
        signed.map(Some).map_err(|error| damaged(error, &path))
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
        let path = self.signed_file(&way_of(request), request.header().version);
        create_directory(path.parent().unwrap_or(&self.directory))?;
        self.newest_signed.take();
        file::replace(&path, request.payload(), Access::Private)
    }

    /// Whether the first root was signed here.
    fn signed_root_1(&self) -> Result<bool, Error> {
        let path = self.signed_file(&[Role::Root], 1);
        let signed = |path| file::read(path).map_err(|error| damaged(error, path));
        Ok(path.exists() && sha256_hex(&signed(&path)?) == self.digest)
    }

    /// The digest of root 1, by which it goes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The keys of the newest root, of the bytes of one that were signed here, and of delegations.
    fn keys(&self) -> Result<BTreeSet<PublicKey>, Error> {
        let signed = self.signed(&[Role::Root])?;
        let signed = signed.and_then(|signed| Root::from_signed(signed.value()).ok());
        let roots = self.chain.last().into_iter().chain(signed.as_ref());
        let top = roots.flat_map(|root| root.roles.values()).flat_map(|role| role.keys.values().cloned());
        let mut keys: BTreeSet<PublicKey> = top.collect();
        for way in self.verified.keys() {
            let signed = self.verified(way)?;
            let delegated = signed.and_then(|signed| signed.head()["delegations"]["keys"].as_object());
            keys.extend(delegated.into_iter().flat_map(|keys| keys.values()).filter_map(read_key));
        }
        Ok(keys)
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
        let brought = steps_of(request).map(|(way, step)| (way, step.version, &step.signed));
        for (way, version, signed) in brought.chain([(way_of(request), *version, request.signed())]) {
            let role = way.last().unwrap_or(role);
            let Some(known) = self.verified(&way)? else { continue };
            let newest = known.header().version;
            if version < newest || (version == newest && known.bytes() != signed.bytes()) {
                return stale(role, newest, version);
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
                Some(payload) => Before::Verified(Rc::new(Signed::read(payload.clone())?)),
                None => Before::Nothing,
            });
        }
        let (way, older) = (way_of(request), |known: &&Rc<Signed>| known.header().version < *version);
        let verified = self.verified(&way)?.filter(older);
        let since = |signed: u32| verified.is_none_or(|known| known.header().version < signed);
        if self.newest_signed_by(&way)?.is_some_and(|signed| signed < *version && since(signed)) {
            let signed = self.signed(&way)?;
            return Ok(signed.map_or(Before::Nothing, |signed| Before::Signed(Rc::new(signed))));
        }
        Ok(verified.map_or(Before::Nothing, |known| Before::Verified(Rc::clone(known))))
    }

    /// What the holder has seen last of what this request is for, by having signed it here. What he merely learned, others
    /// may have signed and nobody shown to him.
    ///
    /// # Errors
    /// [`Environment::StateDamaged`], and [`Environment::Io`].
    pub fn seen(&self, request: &Request) -> Result<Option<Signed>, Error> {
        let way = way_of(request);
        match self.newest_signed_by(&way)? {
            Some(version) if version < request.header().version => self.signed(&way),
            _ => Ok(None),
        }
    }

    /// The newest root that was verified here, and the one that the request brings, if that is a later one.
    pub fn root_brought(&self, request: &Request) -> Result<Option<(Signed, Signed)>, Error> {
        let files = request.chain().files();
        let (Some(known), Some(brought)) = (self.roots.last(), files.last()) else { return Ok(None) };
        if files.len() <= self.roots.len() {
            return Ok(None);
        }
        Ok(Some((Signed::read(known.clone())?, Signed::of_file(brought)?)))
    }

    /// Versions of roots of the request's chain of which other bytes were signed here.
    pub fn other_roots(&self, request: &Request) -> Result<Vec<u32>, Error> {
        let mut others = Vec::new();
        for (file, version) in request.chain().files().iter().zip(1..) {
            let path = self.signed_file(&[Role::Root], version);
            if path.exists() && file::read(&path)? != payload_of(file)? {
                others.push(version);
            }
        }
        Ok(others)
    }

    /// The roles of which anything was signed here.
    ///
    /// # Errors
    /// [`Environment::Io`].
    pub fn signed_roles(&self) -> Result<BTreeSet<Role>, Error> {
        let mut roles = BTreeSet::new();
        find_signed(&self.directory.join(SIGNED), &mut roles)?;
        Ok(roles)
    }

    /// The newest version that was signed here of what this request is for.
    ///
    /// # Errors
    /// [`Environment::Io`].
    pub fn newest_signed(&self, request: &Request) -> Result<Option<u32>, Error> {
        self.newest_signed_by(&way_of(request))
    }

    /// Other bytes of the same role and version that were signed here.
    pub fn signed_another(&self, request: &Request) -> Result<bool, Error> {
        let path = self.signed_file(&way_of(request), request.header().version);
        Ok(path.exists() && file::read(&path).map_err(|error| damaged(error, &path))? != request.payload())
    }

    /// The files that are newer than what was verified here, of those that lead to the delegated role of a request, and
    /// what was verified.
    ///
    /// # Errors
    /// [`Environment::StateDamaged`], and [`Environment::Io`].
    pub fn way_brought<'r>(
        &'r self,
        request: &'r Request,
    ) -> Result<Vec<(&'r Step, Option<&'r Signed>)>, Error> {
        let mut brought = Vec::new();
        for (way, step) in steps_of(request) {
            let known = self.verified(&way)?.map(Rc::as_ref);
            if known.is_none_or(|known| known.header().version < step.version) {
                brought.push((step, known));
            }
        }
        Ok(brought)
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
        let signed = Signed::of_file(bytes)?.of(role)?;
        let version = signed.header().version;
        if *role == Role::Root {
            return self.learn_root(bytes, &signed);
        }
        self.accepts(&way, version, bytes)?;
        if self.verified(&way)?.is_some_and(|known| version <= known.header().version) {
            // Looked at once: hundreds of bins come by one way.
            self.settle(&way)?;
            return Ok(false);
        }
        let path = self.file_of(&way);
        if !above.is_empty() {
            create_directory(path.parent().unwrap_or(&self.directory))?;
        }
        file::replace(&path, bytes, Access::Private)?;
        self.verified.insert(way.clone(), Verified(OnceCell::from(Rc::new(signed))));
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
                    let path = self.file_of(&above[..count]);
                    let file = match self.verified_file(&above[..count])? {
                        Some(file) => file,
                        None => file::read(&path)?,
                    };
                    files.push((&above[count - 1], file));
                }
                let files = files.iter().map(|(role, file)| (*role, &file[..]));
                Way::verify(&self.chain, files)?.accepts(name, bytes)?
            }
            _ => self.chain.accepts(role, bytes),
        })
    }

    /// What was verified of a top-level role but root.
    ///
    /// # Errors
    /// [`Environment::StateDamaged`], and [`Environment::Io`].
    pub fn newest(&self, role: &Role) -> Result<Option<&Signed>, Error> {
        Ok(self.verified(core::slice::from_ref(role))?.map(Rc::as_ref))
    }

    /// The ways to a delegated role through what was verified here.
    ///
    /// # Errors
    /// As [`Way::all`], and [`Environment::Io`].
    pub fn ways_to(&self, name: &str) -> Result<Vec<Way>, Error> {
        Way::all(&self.chain, name, |way| self.verified_file(way))
    }

    /// Whether [`Repository::learn`] would take this file, or has it.
    ///
    /// # Errors
    /// As [`Repository::learn`].
    pub fn would_learn(&self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        let signed = Signed::of_file(bytes)?.of(role)?;
        let version = signed.header().version;
        let known = usize::try_from(version).ok().and_then(|version| self.roots.get(version - 1));
        if *role == Role::Root {
            self.check_next(version)?;
        }
        match (role, known) {
            (Role::Root, Some(known)) if known == payload_of_root(&signed)? => Ok(()),
            (Role::Root, Some(_)) => Err(Rejected::ForkedRoot { version }.into()),
            (Role::Root, None) if version == 1 && sha256_hex(signed.bytes()) != self.digest => {
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

    fn learn_root(&mut self, bytes: &[u8], signed: &Signed) -> Result<bool, Error> {
        let version = signed.header().version;
        let payload = payload_of_root(signed)?;
        if let Some(known) = usize::try_from(version).ok().and_then(|version| self.roots.get(version - 1)) {
            if known != payload {
                return Err(Rejected::ForkedRoot { version }.into());
            }
            self.settle(&[])?;
            return Ok(false);
        }
        if version == 1 && sha256_hex(payload) != self.digest {
            return Err(Rejected::ForkedRoot { version }.into());
        }
        self.check_next(version)?;
        let files: Vec<Vec<u8>> = self.chain.files().iter().cloned().chain([bytes.to_vec()]).collect();
        self.chain = Chain::verify(&files)?;
        file::replace(&self.directory.join(format!("{version}.root.json")), bytes, Access::Private)?;
        self.roots.push(payload.to_vec());
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

    /// Forgets what is below a way and not signed, if that was not done since the last file was taken over: whoever did that
    /// may have been stopped before.
    fn settle(&mut self, way: &[Role]) -> Result<(), Error> {
        if !self.settled.contains(way) {
            self.forget_unsigned(way)?;
            self.settled.insert(way.to_vec());
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
                if !path.exists() {
                    self.verified.remove(&way);
                    continue;
                }
                // A damaged one is kept, too, and told of when it is asked for: it is no floor that others have lifted.
                let file = match file::read(&path).and_then(|file| Signed::of_file(&file).map(|_| file)) {
                    Err(Error::Rejected { .. }) => continue,
                    file => file?,
                };
                // What cannot be judged is kept: nobody has said that others sign for the role now.
                let unsigned = match self.judged(&way, &file) {
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

    /// Where the bytes of this version lie that were signed here of the role at the end of a way.
    fn signed_file(&self, way: &[Role], version: u32) -> PathBuf {
        let mut directory = self.directory.join(SIGNED);
        let Some((role, above)) = way.split_last() else { return directory };
        for role in above.iter().skip(1) {
            directory.push(format!("{}{BELOW}", role.file_stem()));
        }
        directory.join(format!("{}.{version}", role.file_stem()))
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

/// The roles of which anything was signed, by the names of the files.
fn find_signed(directory: &Path, roles: &mut BTreeSet<Role>) -> Result<(), Error> {
    for name in names_in(directory)? {
        if name.ends_with(BELOW) {
            find_signed(&directory.join(&name), roles)?;
        } else if let Some((stem, _)) = name.rsplit_once('.') {
            roles.extend(Role::from_file_stem(stem));
        }
    }
    Ok(())
}

/// What was wrong with a file of the state, which was good once.
fn damaged(error: Error, place: &Path) -> Error {
    match error {
        Error::Rejected { .. } => {
            let message = error.to_string();
            let message = message.split_once("; ").map_or(&*message, |(what, _)| what).to_owned();
            Error::from(Environment::StateDamaged { message }).in_file(place)
        }
        other => other,
    }
}

/// What of a root is signed.
fn payload_of(root: &[u8]) -> Result<Vec<u8>, Error> {
    payload_of_root(&Signed::of_file(root)?).map(<[u8]>::to_vec)
}

/// The same, of a form in which the next root can be drafted.
fn payload_of_root(signed: &Signed) -> Result<&[u8], Error> {
    canonical::check_signed(signed.bytes())?;
    Ok(signed.bytes())
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
