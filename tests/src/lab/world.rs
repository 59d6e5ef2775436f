//! What is around the device: repositories, releases, and what becomes of those.

use core::cell::RefCell;
use core::fmt;
use std::collections::HashMap;

use tuffet_agent::engine::Input;
use tuffet_agent::{Error, Factory, FactoryImage, Request, Transport, TransportFault};
use tuffet_client::release::Image;
use tuffet_client::{Crypto, P256, SOFTWARE};

use super::mcuboot_model::image;
use crate::simulator::{self, DAY, Files, NOW, ROOT_KEYS, Repository, TARGETS_KEYS, digest, root, target};

/// What happens to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// A release is installed, tried and confirmed; a root with other online keys leads to it.
    Update,
    /// And then another one, into the slot that the first was in.
    Twice,
    /// The release finds itself unfit, and says so; and another one mends it.
    Unfit,
    /// The release never lives to say anything.
    Crash,
    /// The repository takes the release back while it is pending, and has another one in its stead.
    Withdrawn,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 5] =
        [Scenario::Update, Scenario::Twice, Scenario::Unfit, Scenario::Crash, Scenario::Withdrawn];
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Scenario::Update => "update",
            Scenario::Twice => "twice",
            Scenario::Unfit => "unfit",
            Scenario::Crash => "crash",
            Scenario::Withdrawn => "withdrawn",
        })
    }
}

/// A release, as its makers know it.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its bytes.
    pub image: Vec<u8>,
    /// SHA-256 of them.
    pub digest: [u8; 32],
    /// Its version, for people.
    pub version: &'static str,
    /// Its sequence.
    pub sequence: u32,
    /// Its security counter.
    pub counter: u32,
}

/// The world of one scenario.
#[derive(Debug)]
pub struct World {
    /// What happens.
    pub scenario: Scenario,
    /// The releases, the one from the factory first.
    pub releases: Vec<Release>,
    /// The first root, which is compiled into every image.
    root: Vec<u8>,
    /// What is served before there is a release, then, and once that was followed or taken back.
    served: [Files; 3],
}

impl World {
    /// The world of a scenario, whose images have so many bytes.
    #[must_use]
    pub fn new(scenario: Scenario, image_length: usize) -> World {
        let release = |sequence: u32, version: &'static str| {
            // No two are equally long.
            let image = image(image_length + 13 * sequence as usize, sequence.to_le_bytes()[0]);
            Release { digest: digest(&image), image, version, sequence, counter: sequence }
        };
        let releases: Vec<Release> = [(1, "1.0.0"), (2, "1.1.0"), (3, "1.2.0")]
            .map(|(sequence, version)| release(sequence, version))
            .into();
        let mut repository = Repository::default();
        repository.candidates.clear();
        repository.targets.clear();
        let publish = |repository: &mut Repository, release: &Release| {
            let candidate = repository.release(release.sequence, release.version);
            candidate.counter = release.counter;
            let length = u32::try_from(release.image.len()).expect("a short image");
            candidate.image = Image { length, sha256: release.digest, ..candidate.image.clone() };
            let path = candidate.image.path.to_string();
            repository.targets.insert(path, target(&release.image));
            let mut files = repository.files();
            for candidate in &repository.candidates {
                let of = releases.iter().find(|release| release.digest == candidate.image.sha256);
                files.insert(candidate.image.url_path().to_string(), of.expect("one of them").image.clone());
            }
            files
        };
        let nothing_new = publish(&mut repository, &releases[0]);
        // Online keys that rotate drop the floors of what they signed (TUF 5.3.11), between two writes to the flash.
        repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp-2", "snapshot-2"]), &ROOT_KEYS[..2]);
        for role in ["timestamp", "snapshot"] {
            repository.signers.insert(role, vec![simulator::Signer::new(&format!("{role}-2"))]);
        }
        repository.bump(&["timestamp", "snapshot", "targets"]);
        let first = publish(&mut repository, &releases[1]);
        let second = match scenario {
            Scenario::Update | Scenario::Crash => first.clone(),
            Scenario::Twice | Scenario::Unfit | Scenario::Withdrawn => {
                if scenario == Scenario::Withdrawn {
                    repository.candidates.retain(|candidate| candidate.sequence != releases[1].sequence);
                }
                repository.bump(&["timestamp", "snapshot", "targets"]);
                publish(&mut repository, &releases[2])
            }
        };
        let root = nothing_new["1.root.json"].clone();
        World { scenario, releases, root, served: [nothing_new, first, second] }
    }

    /// The release of which these are the bytes, as the repository signed them.
    #[must_use]
    pub fn release_of(&self, digest: &[u8; 32]) -> Option<&Release> {
        self.releases.iter().find(|release| release.digest == *digest)
    }

    /// The release that the device must run in the end.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn last(&self) -> &Release {
        match self.scenario {
            Scenario::Update => &self.releases[1],
            Scenario::Twice | Scenario::Unfit | Scenario::Withdrawn => &self.releases[2],
            Scenario::Crash => &self.releases[0],
        }
    }

    /// Versions of root and timestamp that the device must have in the end.
    #[must_use]
    pub fn metadata(&self) -> (u32, u32) {
        (2, if matches!(self.scenario, Scenario::Update | Scenario::Crash) { 2 } else { 3 })
    }

    /// Facts compiled into an image.
    #[must_use]
    pub fn factory(&self, release: &Release) -> Factory<'_> {
        let (product, hardware, channel) = ("lamp", "rev-a", "stable");
        let (counter, built) = (release.counter, NOW - 5 * DAY);
        Factory { root: &self.root, product, hardware, channel, counter, built }
    }

    /// The image that the device leaves the factory with.
    #[must_use]
    pub fn factory_image(&self) -> FactoryImage<'_> {
        let Release { image, sequence, version, .. } = &self.releases[0];
        FactoryImage { bytes: image, sequence: *sequence, version }
    }

    /// What is served at this stage; see [`World::LATER`].
    #[must_use]
    pub fn mirror(&self, stage: usize) -> Mirror<'_> {
        Mirror { files: &self.served[stage], image_bytes: 0, fault: None, fetches: Vec::new() }
    }

    /// The stage before there is anything new.
    pub const QUIET: usize = 0;
    /// The stage with a release.
    pub const RELEASED: usize = 1;
    /// The stage with what follows on that. A repository never goes back.
    pub const LATER: usize = 2;
}

/// Bytes of the pieces in which files come, as over a network: neither pages nor write units.
pub const CHUNK: usize = 100;

/// A server.
#[derive(Debug)]
pub struct Mirror<'w> {
    files: &'w Files,
    /// How many bytes of images were fetched.
    pub image_bytes: usize,
    /// What happens to one of the fetches, counted from 0.
    pub fault: Option<(usize, ServerFault)>,
    /// What was asked for, and how long that is.
    pub fetches: Vec<(String, usize)>,
}

/// What a server, or the way to it, does to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerFault {
    /// The connection breaks after so many bytes.
    Breaks(usize),
    /// The server falls silent after so many bytes.
    Stalls(usize),
    /// The file ends after so many bytes, as if that were all.
    Ends(usize),
    /// All bits of this byte are others.
    Flips(usize),
    /// The file goes on behind its end.
    GoesOn,
    /// 404.
    NotFound,
    /// Another status: 302 redirects, and 503 is busy.
    Status(u16),
    /// The server cannot prove who it is.
    Tls,
}

impl ServerFault {
    /// All that can happen to a file of so many bytes.
    #[must_use]
    pub fn all(length: usize) -> Vec<ServerFault> {
        use ServerFault::{Breaks, Ends, Flips, GoesOn, NotFound, Stalls, Status, Tls};
        let each = (0..length).flat_map(|at| [Breaks(at), Ends(at), Flips(at)]);
        // To the device a silence is a connection that breaks later.
        let stalls = (0..length).step_by(100).map(Stalls);
        each.chain(stalls).chain([GoesOn, NotFound, Status(302), Status(416), Status(503), Tls]).collect()
    }
}

impl Transport for Mirror<'_> {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Request { path, from, limit, part } = request;
        let (path, from, limit) = (path.as_str(), *from as usize, *limit as usize);
        let number = self.fetches.len();
        let file = self.files.get(path);
        let length = file.map_or(0, |file| file.len().min(limit).saturating_sub(from));
        self.fetches.push((path.to_owned(), length));
        let fault = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let mut answer = match (file, fault) {
            (_, Some(ServerFault::Status(code))) => return Err(TransportFault::Status { code }.into()),
            (_, Some(ServerFault::Tls)) => return Err(TransportFault::Tls.into()),
            (None, _) | (_, Some(ServerFault::NotFound)) => return Err(TransportFault::NotFound.into()),
            (Some(file), _) if file.len() < from => {
                return Err(TransportFault::Range { from: request.from }.into());
            }
            (Some(file), _) => file[from..].to_vec(),
        };
        let limit = limit - from;
        let mut broken = None;
        match fault {
            Some(ServerFault::Breaks(at)) => {
                (broken, answer) = (Some(TransportFault::Connection), answer[..at].into())
            }
            Some(ServerFault::Stalls(at)) => {
                (broken, answer) = (Some(TransportFault::Timeout), answer[..at].into())
            }
            Some(ServerFault::Ends(at)) => answer.truncate(at),
            Some(ServerFault::Flips(at)) => answer[at] ^= 0xFF,
            Some(ServerFault::GoesOn) => answer.resize(answer.len() + limit + 1, b' '),
            _ => {}
        }
        if answer.len() > limit {
            broken = (!part).then_some(TransportFault::TooLong { limit: request.limit });
            answer.truncate(limit);
        }
        for chunk in answer.chunks(CHUNK) {
            if path.starts_with("targets/") {
                self.image_bytes += chunk.len();
            }
            sink(Input::Chunk(chunk))?;
        }
        broken.map_or(Ok(()), |fault| Err(fault.into()))
    }
}

/// What devices verify with. A signature that was verified once is so for good; everything else is done each time.
pub const CRYPTO: Crypto = Crypto { p256: P256 { verify: verify_once, ..SOFTWARE.p256 }, ..SOFTWARE };

/// Key, digest and signature.
type Question = ([u8; 33], [u8; 32], Vec<u8>);

fn verify_once(key: &[u8; 33], digest: &[u8; 32], der: &[u8]) -> bool {
    thread_local! {
        static ANSWERS: RefCell<HashMap<Question, bool>> = RefCell::default();
    }
    let question = (*key, *digest, der.to_vec());
    ANSWERS.with_borrow_mut(|answers| {
        *answers.entry(question).or_insert_with(|| (SOFTWARE.p256.verify)(key, digest, der))
    })
}
