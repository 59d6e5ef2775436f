//! The demo: one world from the key ceremony to a device's flash, and an attacker who owns the mirror.
//!
//! Everything in it is the real thing on a small stage: the ceremony's files, the repository's publication,
//! HTTP over a socket, the device's agent on a flash that enforces what flash enforces.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use tuffet_agent::Event;
use tuffet_agent::agent::{Checked, Started};
use tuffet_agent::boot::Reason;
use tuffet_agent::factory::FactoryImage;
use tuffet_client::Change;
use tuffet_client::release::Hex;

use crate::config::Hardware;
use crate::release::Staged;
use crate::repository::target_name;
use crate::{Environment, Error, Rejected};

pub mod attacker;
pub mod device;
pub mod firmware;
pub mod mirror;
mod story;
pub mod team;
pub mod thief;

use attacker::{Attack, Loot};
use device::{Evidence, Lamp};
use mirror::{Fault, Mirror};
use story::Story;
use team::{Build, Ceremony, HARDWARE, OTHER_HARDWARE, Signing, Team};

/// The images that the demo needs, by the version that they say they are.
pub struct Images {
    /// What the lamp leaves the factory with, 0.9.0.
    pub factory: Vec<u8>,
    /// The releases 1.0.0, 1.1.0 and 1.2.0.
    pub releases: [Vec<u8>; 3],
    /// An image for other hardware.
    pub other: Vec<u8>,
}

/// The versions of [`Images::releases`].
pub const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

impl Images {
    /// Builds them from `hil/firmware`; `watch` is told each version before its build, and how many there are.
    ///
    /// # Errors
    /// [`Environment::Firmware`].
    pub fn build(watch: &mut dyn FnMut(&str, usize)) -> Result<Images, Error> {
        let directory = firmware::build_directory();
        let mut build = |version: &str| {
            watch(version, 5);
            firmware::build(version, &directory)
                .map_err(|error| Error::from(Environment::Firmware { message: error.to_string() }))
        };
        let [first, second, third] = VERSIONS;
        Ok(Images {
            factory: build("0.9.0")?,
            releases: [build(first)?, build(second)?, build(third)?],
            // As long as the third, so that it is its bytes that give it away and not its length.
            other: build("2.1.0")?,
        })
    }

    /// One image that a person pointed at, in every part. All releases are the same bytes then, and the image
    /// for other hardware differs in its last byte.
    #[must_use]
    pub fn same(image: &[u8]) -> Images {
        let mut other = image.to_vec();
        if let Some(last) = other.last_mut() {
            *last ^= 0xFF;
        }
        Images { factory: image.to_vec(), releases: [(); 3].map(|()| image.to_vec()), other }
    }
}

/// What a person watching is shown as it happens.
pub trait Audience {
    /// So many bytes of an image are on flash, of so many.
    fn downloaded(&mut self, received: u32, length: u32);
}

/// Nobody watches.
impl Audience for () {
    fn downloaded(&mut self, _: u32, _: u32) {}
}

/// A team, its mirror, a device, and what an attacker could get hold of.
pub struct World {
    images: Images,
    now: u64,
    directory: PathBuf,
    /// The release team.
    pub team: Team,
    /// The web server between the two.
    pub mirror: Mirror,
    /// The device.
    pub lamp: Lamp,
}

/// What a demo came to.
pub struct Report {
    /// Versions that the lamp installed and confirmed.
    pub installed: Vec<&'static str>,
    /// What the lamp said to each attack.
    pub refusals: Vec<Refusal>,
}

/// An attack, and what the lamp said to it.
pub struct Refusal {
    /// What was tried.
    pub attack: &'static str,
    /// The error's code.
    pub code: String,
    /// The error.
    pub message: String,
}

/// What became of an attack.
pub struct Outcome {
    /// What the device said; it must be an error.
    pub checked: Result<Checked, Error>,
    /// The device before and after.
    pub evidence: [Evidence; 2],
    /// Whether the inactive slot boots now.
    pub inactive_slot_boots: bool,
}

impl World {
    /// Holds the ceremony, sets up the repository and makes a lamp with the factory's image.
    ///
    /// # Errors
    /// Whatever keeps a file from being written.
    pub fn new(directory: &Path, images: Images, now: u64) -> Result<(World, Ceremony), Error> {
        let (team, ceremony) = Team::found(directory, &hardware(), now)?;
        let mirror =
            Mirror::serve(&team.public()).map_err(|error| Error::io("serve", &team.public(), &error))?;
        let image = FactoryImage { bytes: &images.factory, sequence: 0, version: "0.9.0" };
        let path = directory.join("lamp.nor");
        let lamp = Lamp::manufacture(&path, ceremony.root.clone(), &image, mirror.url(), now)?;
        Ok((World { images, now, directory: directory.to_owned(), team, mirror, lamp }, ceremony))
    }

    /// Releases the image of [`VERSIONS`] at `index`, and with it one for other hardware: staged, signed by two
    /// and published.
    ///
    /// # Errors
    /// The team's.
    pub fn release(&mut self, index: usize) -> Result<(Staged, Signing), Error> {
        let version = VERSIONS[index];
        self.team.stage(&Build::new(&self.images.other, OTHER_HARDWARE, version))?;
        let staged = self.team.stage(&Build::new(&self.images.releases[index], HARDWARE, version))?;
        let signing = self.team.sign_targets()?;
        self.team.publish()?;
        Ok((staged, signing))
    }

    /// Has the lamp hear of a release and fail to get it: the connection breaks within the image. Its metadata
    /// are verified and stored from here on.
    ///
    /// # Errors
    /// That the connection broke, or what else the lamp says.
    pub fn break_connection(&self, staged: &Staged) -> Result<Checked, Error> {
        self.mirror
            .set_fault(&World::image_path(staged), Fault::DropAfter(u64::from(staged.image.length) / 2));
        let checked = self.lamp.check(&mut |_| ());
        self.mirror.clear_faults();
        checked
    }

    /// Has the lamp check under an attack, and then puts the mirror right again.
    ///
    /// `staged` is the release that the lamp would install. It must have heard of it
    /// ([`World::break_connection`]), or it rightly stores the honest metadata that it meets on the way.
    ///
    /// # Errors
    /// Whatever keeps the world from being watched; what the lamp says is in the outcome.
    pub fn attack(&self, attack: Attack, staged: &Staged, own: &Own) -> Result<Outcome, Error> {
        let index = VERSIONS.iter().position(|version| staged.path.contains(version)).unwrap_or_default();
        let loot = Loot {
            history: self.team.history(),
            image: (World::image_path(staged), &self.images.releases[index]),
            other_image: &self.images.other,
            own: &own.0,
        };
        attack.mount(&self.mirror, &loot);
        self.watch()
    }

    /// Has the lamp check while a thief serves a release of his own, with the online keys and one release key,
    /// and then puts the mirror right again.
    ///
    /// # Errors
    /// Whatever keeps the world from being watched; what the lamp says is in the outcome.
    pub fn rob(&self) -> Result<Outcome, Error> {
        let today = self.team.history().last().cloned().unwrap_or_default();
        for (name, file) in self.team.robbed(1).forge(&today, HARDWARE, &self.images.other, self.now)? {
            self.mirror.set_fault(&format!("/{name}"), Fault::Replace(file));
        }
        self.watch()
    }

    /// Has the lamp check the mirror as it is now, and then puts the mirror right again.
    ///
    /// # Errors
    /// Whatever keeps the world from being watched; what the lamp says is in the outcome.
    pub fn watch(&self) -> Result<Outcome, Error> {
        let before = self.lamp.evidence()?;
        let checked = self.lamp.check(&mut |_| ());
        self.mirror.clear_faults();
        let inactive_slot_boots = self.lamp.inactive_slot_boots()?;
        Ok(Outcome { checked, evidence: [before, self.lamp.evidence()?], inactive_slot_boots })
    }

    /// The path, with its leading slash, from which the mirror serves a release's image.
    #[must_use]
    pub fn image_path(staged: &Staged) -> String {
        format!("/{}", target_name(&staged.path, &staged.image.sha256))
    }

    /// The attacker sets up shop: keys and a repository of his own, in which he releases what he likes.
    ///
    /// # Errors
    /// The team's, for he uses the same tools.
    pub fn own_repository(&self) -> Result<Own, Error> {
        let (mut team, _) = Team::found(&self.directory.join("attacker"), &hardware(), self.now)?;
        team.stage(&Build::new(&self.images.other, HARDWARE, "6.6.6"))?;
        team.sign_targets()?;
        team.publish()?;
        let mut files = team.history().last().cloned().unwrap_or_default();
        // Devices have a first root already, and nobody can give them another.
        files.remove("1.root.json");
        Ok(Own(files))
    }
}

/// What the product runs on.
fn hardware() -> [(&'static str, Hardware); 2] {
    let slot_size = tuffet_agent::FlashMap::DEMO.layout().slot_a.length;
    [HARDWARE, OTHER_HARDWARE].map(|name| (name, Hardware { slot_size, flash_map: Some("demo".to_owned()) }))
}

/// The metadata files of the attacker's own repository.
pub struct Own(BTreeMap<String, Vec<u8>>);

/// Tells the whole story to `out`, in `directory`.
///
/// # Errors
/// [`Rejected::Demo`] if anything came out otherwise than it must; else whatever kept the demo from running.
pub fn run(
    directory: &Path,
    images: Images,
    now: u64,
    out: &mut dyn Write,
    audience: &mut dyn Audience,
) -> Result<Report, Error> {
    let mut story = Story::new(out);
    let mut report = Report { installed: Vec::new(), refusals: Vec::new() };

    story.chapter("The ceremony")?;
    let factory_length = images.factory.len();
    let (mut world, ceremony) = World::new(directory, images, now)?;
    let [first, second] = ceremony.signers;
    story.tell("key holders", "make eight ECDSA P-256 keys; each file is encrypted (scrypt, AES-256)")?;
    story.tell(first, "signs the first root, in a copy of the request")?;
    let refusal = Error::from(ceremony.with_one_signature);
    story.refuse("tuffet-keys", &refusal.label(), &first_clause(&refusal))?;
    story.tell(second, "signs it in another copy; the two are merged")?;
    story.tell("tuffet-keys", &format!("finishes 1.root.json, {} bytes", ceremony.root.len()))?;

    story.chapter("The factory")?;
    let built = format!("leaves with 0.9.0, {factory_length} bytes in slot A, and that root to trust");
    story.tell("lamp", &built)?;

    for index in [0, 1] {
        story.chapter(&format!("Release {}", VERSIONS[index]))?;
        tell_release(&mut story, &mut world, index)?;
        update(&mut story, &world, VERSIONS[index], audience)?;
        report.installed.push(VERSIONS[index]);
    }

    story.chapter("Somebody else owns the mirror")?;
    let staged = tell_release(&mut story, &mut world, 2)?;
    match world.break_connection(&staged) {
        Err(broken @ Error::Agent(tuffet_agent::Error::Environment(_))) => {
            story.tell("lamp", "verifies all metadata, and fetches the image")?;
            story.give_up("lamp", &broken.label(), &broken.to_string())?;
        }
        other => return surprise(&format!("the connection broke, and the lamp said {other:?}")),
    }
    let own = world.own_repository()?;
    for attack in Attack::ALL {
        let Outcome { checked, evidence: [before, after], inactive_slot_boots } =
            world.attack(attack, &staged, &own)?;
        story.tell("attacker", attack.describe())?;
        match checked {
            Err(refusal) => {
                let (code, message) = (refusal.label(), refusal.to_string());
                story.refuse("lamp", &code, &message)?;
                report.refusals.push(Refusal { attack: attack.describe(), code, message });
            }
            Ok(checked) => return surprise(&format!("the lamp took it: {checked:?}")),
        }
        if before != after || inactive_slot_boots {
            return surprise("the refusal left a trace on the lamp's flash");
        }
        story.hold(
            "active slot, boot record, root and floors: not a byte changed; the other slot does not boot",
        )?;
    }

    story.chapter("The mirror is honest again")?;
    update(&mut story, &world, VERSIONS[2], audience)?;
    report.installed.push(VERSIONS[2]);
    match world.lamp.check(&mut |_| ())? {
        Checked::UpToDate => story.tell("lamp", "checks once more: up to date")?,
        other => return surprise(&format!("there should be no more to do: {other:?}")),
    }

    report.refusals.push(tell_theft(&mut story, &mut world)?);
    Ok(report)
}

/// Both online keys and one release key are stolen. It is not enough to start a release, but it is enough to
/// freeze the lamp, until a new root takes the keys away.
fn tell_theft(story: &mut Story<'_>, world: &mut World) -> Result<Refusal, Error> {
    story.chapter("Both online keys are stolen, and one release key")?;
    let Outcome { checked, evidence: [before, after], inactive_slot_boots } = world.rob()?;
    let attack = "signs a release of his own, and a timestamp four billion versions ahead";
    story.tell("thief", attack)?;
    let refusal = match checked {
        Err(refusal) => Refusal { attack, code: refusal.label(), message: refusal.to_string() },
        Ok(checked) => return surprise(&format!("the lamp took it: {checked:?}")),
    };
    story.refuse("lamp", &refusal.code, &refusal.message)?;
    if before.active_slot != after.active_slot
        || before.boot_record != after.boot_record
        || inactive_slot_boots
    {
        return surprise("one signature of two changed what the lamp starts");
    }
    story.hold(
        "active slot and boot record: not a byte changed; floors rose, for online keys may raise them",
    )?;
    match world.lamp.check(&mut |_| ()) {
        Err(stuck) => story.refuse("lamp", &stuck.label(), &format!("the honest mirror now: {stuck}"))?,
        Ok(checked) => return surprise(&format!("the lamp forgot a floor: {checked:?}")),
    }
    world.team.replace_online_keys()?;
    story.tell("key holders", "sign root 2, which gives snapshot and timestamp other keys")?;
    let (checked, trusted) = (world.lamp.check(&mut |_| ())?, world.lamp.trusted()?);
    let floor = trusted.floors().timestamp_version().unwrap_or(0);
    if checked != Checked::UpToDate || trusted.root().version() != 2 || floor >= thief::FAR {
        return surprise("root 2 did not undo what the stolen keys did");
    }
    story.tell(
        "lamp",
        &format!("follows root 2, drops the thief's floors, trusts timestamp {floor}: up to date"),
    )?;
    Ok(refusal)
}

fn tell_release(story: &mut Story<'_>, world: &mut World, index: usize) -> Result<Staged, Error> {
    let (staged, signing) = world.release(index)?;
    let [first, second] = signing.signers;
    story.tell("tuffet", &format!("stages {} and asks for two signatures", staged.path))?;
    story.tell(first, "signs the targets")?;
    let refusal = signing.with_one_signature;
    story.refuse("tuffet", &refusal.label(), &first_clause(&refusal))?;
    story.tell(second, "signs them, too")?;
    story.tell("tuffet", "publishes image, targets, snapshot and, last of all, timestamp.json")?;
    Ok(staged)
}

/// The lamp checks, installs, starts the new version on trial, and confirms it.
fn update(
    story: &mut Story<'_>,
    world: &World,
    version: &str,
    audience: &mut dyn Audience,
) -> Result<(), Error> {
    world.mirror.clear_requests();
    let mut stored = 0;
    let mut selected = None;
    let checked = world.lamp.check(&mut |event| match event {
        Event::Stored(Change::Root | Change::Floors) => stored += 1,
        Event::Selected(candidate) => selected = Some(candidate.clone()),
        Event::Download { received, length } => audience.downloaded(received, length),
        _ => {}
    })?;
    let (Checked::Pending(image), Some(candidate)) = (checked, selected) else {
        return surprise("the lamp found nothing to install");
    };
    let metadata = world.mirror.requests().iter().filter(|request| request.path.ends_with(".json")).count();
    story.tell(
        "lamp",
        &format!("asks for {metadata} metadata files, verifies each, stores {stored} records"),
    )?;
    let what = format!(
        "fetches {} ({} bytes) into slot {}, hashing as it writes; reads it back: sha256 {}…",
        candidate.version,
        image.length,
        image.slot,
        &Hex(&image.digest).to_string()[..16],
    );
    story.tell("lamp", &what)?;
    story.tell("lamp", "verifies the repository once more, and marks the slot pending")?;

    let mut trial = None;
    let started = world.lamp.restart(&mut |event| {
        if let Event::Start(decision) = event {
            trial = Some((decision.reason, decision.start.version.clone()));
        }
    })?;
    let (Some((Reason::Trial { tries_left }, tried)), Started::Confirmed(confirmed)) = (trial, started)
    else {
        return surprise("the new version was not tried and confirmed");
    };
    if tried != version || confirmed.version != version {
        return surprise("another version than the released one runs");
    }
    story.tell("bootloader", &format!("starts {tried} on trial, with {tries_left} more tries"))?;
    story.tell("lamp", &format!("runs {version}, reaches its repository, and confirms itself"))?;
    Ok(())
}

/// What went wrong, without the names and the advice that follow.
fn first_clause(error: &Error) -> String {
    let line = error.to_string();
    line.split([';', ':']).next().unwrap_or_default().to_owned()
}

fn surprise<T>(what: &str) -> Result<T, Error> {
    Err(Rejected::Demo { what: what.to_owned() }.into())
}
