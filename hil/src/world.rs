//! What is around a device: the release team with its repository and web server, and the device's flash while it is off.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use tempfile::TempDir;
use tuffet::bundle;
use tuffet::config::Hardware;
use tuffet::demo::attacker::{Attack, Loot};
use tuffet::demo::mirror::{Fault, Mirror};
use tuffet::demo::team::{Build, CHANNEL, PRODUCT, Team};
use tuffet::demo::thief::Thief;
use tuffet::release::change::Change;
use tuffet::release::{Channel, Ramp, Staged};
use tuffet::repository::target_name;
use tuffet::source;
use tuffet_agent::Flash;
use tuffet_agent::factory::{Factory, FactoryImage, provision};
use tuffet_agent::http::HttpOptions;
use tuffet_client::SOFTWARE;
use tuffet_hil_protocol::board::{EMCRAFT_SF2, MICROBIT};
use tuffet_hil_protocol::page::DevicePage;
use tuffet_hil_protocol::stamp::{Behaviour, Stamp};
use tuffet_tests::lab::nor::Nor;
use tuffet_tests::simulator::{DAY, NOW, digest};

use crate::Failure;
use crate::board::Board;
use crate::firmware::Firmware;
use crate::gateway::Files;
use crate::judge::facts;

/// The device's id, which decides its place in rollouts.
const ID: [u8; 16] = *b"lamp-17\0\0\0\0\0\0\0\0\0";

/// The version that a device leaves the factory with.
const FACTORY: &str = "0.9.0";

/// The server, as an emulated network knows the host's loopback.
const SERVER: [u8; 4] = [10, 0, 2, 2];

/// The team, its mirror, and a device that is off.
pub struct World<'f> {
    /// The device's programs.
    pub firmware: &'f Firmware,
    /// The release team.
    pub team: Team,
    /// The web server.
    pub mirror: Mirror,
    /// What is on the device's flash.
    pub flash: Vec<u8>,
    /// What its maker told the device.
    pub page: DevicePage,
    /// Files come from this bundle, if there is one.
    pub bundle: Option<PathBuf>,
    /// The first root.
    pub root: Vec<u8>,
    /// Images that were ever built, by their digests.
    images: BTreeMap<[u8; 32], Image>,
    /// The last release.
    staged: Option<Staged>,
    /// Who has stolen keys.
    thief: Option<Thief>,
    directory: TempDir,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its version.
    pub version: String,
    /// Its security counter.
    pub counter: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A release as a scenario has it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The version.
    pub version: &'w str,
    /// How the image behaves.
    pub behaviour: Behaviour,
    /// Its security counter.
    pub counter: u32,
    /// Who gets it when.
    pub rollout: Option<Ramp>,
}

impl<'f> World<'f> {
    /// The ceremony is held, the first release is published, and a device with it has left the factory, but was never switched on.
    ///
    /// # Errors
    /// What keeps a file from being written.
    pub fn new(firmware: &'f Firmware) -> Result<World<'f>, Failure> {
        let directory = tempfile::tempdir()?;
        let board = firmware.board;
        let (team, ceremony) = Team::found(directory.path(), &Board::ALL.map(hardware), NOW)?;
        let mirror = Mirror::serve(&team.public())?;
        let page = DevicePage {
            id: ID,
            server: SERVER,
            port: mirror.address().port(),
            bundle: false,
            every: 60 * 60,
            retry: 80,
            deadline: 60,
            now: 0,
        };
        let mut world = World {
            firmware,
            team,
            mirror,
            flash: Vec::new(),
            page,
            bundle: None,
            root: ceremony.root,
            images: BTreeMap::new(),
            staged: None,
            thief: None,
            directory,
        };
        let first = Wanted { version: FACTORY, behaviour: Behaviour::Well, counter: 0, rollout: None };
        world.release(&first)?;
        let image = world.images.values().next().ok_or("there is no image")?.clone();
        world.flash = match board {
            Board::EmcraftSf2 => world
                .manufacture::<{ EMCRAFT_SF2.erase_unit as usize }, { EMCRAFT_SF2.write_unit as usize }>(
                    &image,
                )?,
            Board::Microbit => world
                .manufacture::<{ MICROBIT.erase_unit as usize }, { MICROBIT.write_unit as usize }>(&image)?,
        };
        Ok(world)
    }

    /// What is on a flash when the device leaves the factory.
    fn manufacture<const ERASE: usize, const WRITE: usize>(&self, image: &Image) -> Result<Vec<u8>, Failure> {
        let board = self.firmware.board;
        let mut nor = Nor::<ERASE, WRITE>::new(board.layout().size, 0xFF);
        let mut flash = Flash::new(&mut nor, board.map()).map_err(words)?;
        let first = FactoryImage { bytes: &image.bytes, sequence: 1, version: &image.version };
        provision(&mut flash, &SOFTWARE, &self.factory(image.counter), &first).map_err(words)?;
        Ok(nor.bytes().to_vec())
    }

    /// What an image of this counter was born with.
    #[must_use]
    pub fn factory(&self, counter: u32) -> Factory<'_> {
        Factory {
            root: &self.root,
            product: PRODUCT,
            hardware: self.firmware.board.name(),
            channel: CHANNEL,
            counter,
            built: BUILT,
        }
    }

    /// The flash with its device page, as the device finds it.
    #[must_use]
    pub fn flash_at_start(&self) -> Vec<u8> {
        let mut flash = self.flash.clone();
        let at = self.firmware.board.layout().device_page as usize;
        let page = self.page.encode();
        flash[at..at + page.len()].copy_from_slice(&page);
        flash
    }

    /// What feeds the device's UART.
    ///
    /// # Errors
    /// A bundle that is none.
    pub fn files(&self) -> Result<Option<Files>, Failure> {
        if !self.firmware.board.is_fed() {
            return Ok(None);
        }
        Ok(Some(match &self.bundle {
            Some(path) => Files::bundle(File::open(path)?).map_err(words)?,
            None => Files::repository(&self.mirror.url()),
        }))
    }

    fn build(&mut self, version: &str, behaviour: Behaviour, counter: u32) -> Result<Image, Failure> {
        let stamp = Stamp { version, counter, behaviour, built: BUILT, root: &self.root };
        let bytes = self.firmware.image(&stamp)?;
        let image = Image { version: version.to_owned(), counter, bytes };
        self.images.insert(digest(&image.bytes), image.clone());
        Ok(image)
    }

    /// The image of this digest.
    #[must_use]
    pub fn image(&self, digest: &[u8; 32]) -> Option<&Image> {
        self.images.get(digest)
    }

    /// All of them.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// Builds a release, has it signed by two, and publishes it.
    ///
    /// # Errors
    /// The team's.
    pub fn release(&mut self, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let Wanted { version, behaviour, counter, rollout } = *wanted;
        let image = self.build(version, behaviour, counter)?;
        let hardware = self.firmware.board.name();
        let build = Build { image: &image.bytes, hardware, version, counter: Some(counter), rollout };
        self.staged = Some(self.team.stage(&build)?);
        self.team.sign_targets()?;
        self.team.publish()?;
        Ok(())
    }

    /// Something becomes of the newest release.
    ///
    /// # Errors
    /// The team's.
    pub fn change(&mut self, what: &Change) -> Result<(), Failure> {
        self.team.change(self.firmware.board.name(), what)?;
        self.team.sign_targets()?;
        self.team.publish()?;
        Ok(())
    }

    /// The path of the newest release's image on the server.
    ///
    /// # Errors
    /// That there is none.
    pub fn image_path(&self) -> Result<String, Failure> {
        let staged = self.staged.as_ref().ok_or("nothing was released yet")?;
        Ok(format!("/{}", target_name(&staged.path, &staged.image.sha256)))
    }

    /// Bytes of the newest release's image.
    #[must_use]
    pub fn image_length(&self) -> u64 {
        self.staged.as_ref().map_or(0, |staged| staged.image.length.into())
    }

    /// From now on the mirror is somebody else's.
    ///
    /// # Errors
    /// That too little was published for it.
    pub fn attack(&mut self, attack: Attack) -> Result<(), Failure> {
        let path = self.image_path()?;
        let newest = self.images.values().find(|image| path.contains(&format!("/{}/", image.version)));
        let image = newest.ok_or("the release's image is unknown")?.bytes.clone();
        let other = self.build("6.6.6", Behaviour::Well, 0)?.bytes;
        if attack == Attack::OtherHardware {
            // It is released, and signed, for the other board.
            let others = Board::ALL.into_iter().find(|board| *board != self.firmware.board);
            self.team.stage(&Build::new(&other, others.ok_or("there is no other board")?.name(), "6.6.6"))?;
            self.team.sign_targets()?;
            self.team.publish()?;
        }
        let own =
            if attack == Attack::OwnRepository { self.own_repository(&other)? } else { BTreeMap::new() };
        let loot =
            Loot { history: self.team.history(), image: (path, &image), other_image: &other, own: &own };
        attack.mount(&self.mirror, &loot);
        Ok(())
    }

    /// The metadata of a repository whose keys are the attacker's.
    fn own_repository(&self, image: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let board = self.firmware.board;
        let directory = self.directory.path().join("attacker");
        let (mut team, _) = Team::found(&directory, &[hardware(board)], NOW)?;
        team.stage(&Build::new(image, board.name(), "6.6.6"))?;
        team.sign_targets()?;
        team.publish()?;
        let mut files = team.history().last().cloned().unwrap_or_default();
        // Devices have a first root already, and nobody can give them another.
        files.remove("1.root.json");
        Ok(files)
    }

    /// A thief copies both online keys, and so many release keys: first the one that [`Team::replace_release_key`] replaces.
    pub fn rob(&mut self, drawers: usize) {
        self.thief = Some(self.team.robbed(drawers));
    }

    /// The thief has the mirror, too, and releases an image of his own.
    ///
    /// # Errors
    /// What signing says, or that there is no thief.
    pub fn forge(&mut self) -> Result<(), Failure> {
        let image = self.build("6.6.6", Behaviour::Well, 0)?.bytes;
        let today = self.team.history().last().cloned().unwrap_or_default();
        let hardware = self.firmware.board.name();
        let thief = self.thief.as_ref().ok_or("nobody stole anything")?;
        let files = thief.forge(&today, hardware, &image, NOW)?;
        self.serve(files);
        let sha256: String = digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = target_name(&format!("{PRODUCT}/{hardware}/versions/6.6.6/lamp.bin"), &sha256);
        self.mirror.set_fault(&format!("/{name}"), Fault::Replace(image));
        Ok(())
    }

    /// The thief gives devices the targets of the day before the last again.
    ///
    /// # Errors
    /// What signing says, or that there is no thief or no such day.
    pub fn roll_back(&mut self) -> Result<(), Failure> {
        let [.., day, _] = self.team.history() else { return Err("there was no earlier day".into()) };
        let files = self.thief.as_ref().ok_or("nobody stole anything")?.roll_back(day, NOW)?;
        self.serve(files);
        Ok(())
    }

    fn serve(&self, files: BTreeMap<String, Vec<u8>>) {
        for (name, file) in files {
            self.mirror.set_fault(&format!("/{name}"), Fault::Replace(file));
        }
    }

    /// One bit changes, in the middle of the image that the device is about to try.
    ///
    /// # Errors
    /// That it is about to try none.
    pub fn damage_trial(&mut self) -> Result<(), Failure> {
        let board = self.firmware.board;
        let (trial, _) = facts(board, &self.flash)?.trial.ok_or("the device tries nothing")?;
        let slot = [board.layout().slot_a, board.layout().slot_b][trial.slot];
        self.flash[slot.offset as usize + trial.length / 2] ^= 0x10;
        Ok(())
    }

    /// Puts what is published into a bundle, which is what the device sees from now on.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn pack(&mut self) -> Result<(), Failure> {
        let path = self.directory.path().join("bundle");
        let mut source = source::open(&self.team.public().display().to_string(), HttpOptions::default())?;
        let hardware = self.firmware.board.name().to_owned();
        let channel = Channel { product: PRODUCT.to_owned(), hardware, name: CHANNEL.to_owned() };
        let order = bundle::Order { channel, version: None, from_root: Some(1) };
        bundle::write(&mut *source, &self.root, &order, &path, NOW)?;
        self.bundle = Some(path);
        self.page.bundle = true;
        Ok(())
    }
}

/// What the product runs on. embassy-boot swaps as many pages as slot A has.
fn hardware(board: Board) -> (&'static str, Hardware) {
    (board.name(), Hardware { slot_size: board.layout().slot_a.length, flash_map: None })
}

/// When images are built.
const BUILT: u64 = NOW - 5 * DAY;

/// The library's errors can do less than those of a thread.
fn words(error: impl core::fmt::Display) -> String {
    error.to_string()
}
