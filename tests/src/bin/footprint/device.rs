//! A device whose agent and bootloader are the measured ones: the host provisions its flash, turns it on and off, reads
//! what it says, and decides.

use std::fs;
use std::path::{Path, PathBuf};

use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::flash_map::{Layout, Region};
use tuffet_agent::{Factory, FactoryImage, Flash, FlashMap, provision};
use tuffet_client::SOFTWARE;
use tuffet_tests::simulator::{DAY, NOW};

use crate::firmware::Images;
use crate::run::{INSTALL, REFUSED, TICK, UP_TO_DATE, VERDICTS, Verdict, emulate};
use crate::{Failure, file, repository};

/// As `hil/measure/src/nor.rs` has it.
const LAYOUT: Layout = Layout {
    erase_unit: 0x1000,
    write_unit: 4,
    erased: 0xFF,
    boot: Region { offset: 0, length: 0x2000 },
    trust: Region { offset: 0x2000, length: 0x2000 },
    slot_a: Region { offset: 0x4000, length: 0x1_0000 },
    slot_b: Region { offset: 0x1_4000, length: 0x1_0000 },
};

/// Bytes of the image in the repository.
const IMAGE: u64 = 65_536;

/// Bytes of the only buffer in which an image is on its way to the flash.
const WRITE_BUFFER: u64 = 256;

/// The number of an image among roles.
const IMAGE_ROLE: u64 = 5;
/// A turn that confirms the image on trial.
const CONFIRMED: u64 = 4;
/// `Rejected::ImageDigest` of the agent.
const IMAGE_DIGEST: u64 = 404;

/// Why a bootloader starts an image.
const ACTIVE: u64 = 1;
const TRIAL: u64 = 2;

/// What a device counted from one confirmed image to the next, in bytes and instructions.
#[derive(Default)]
pub(crate) struct Device {
    /// `Engine`, `Turn` and `Work`, without what of them is the client's, the flash, or the write buffer.
    pub(crate) memory: u64,
    /// The most that any turn took.
    pub(crate) stack: u64,
    /// Taking the image, which is hashed on its way to the flash, read back and hashed again.
    pub(crate) installing: u64,
    /// With nothing new.
    pub(crate) poll: u64,
    /// An append of the floors, in the mean of many, and the dearest.
    pub(crate) append: u64,
    pub(crate) dearest_append: u64,
    /// The bootloader's decision, over an image of `IMAGE` bytes.
    pub(crate) decision: u64,
    pub(crate) boot_stack: u64,
    /// Starts and turns that ended as they should, honest and forged ones.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// What did not.
    pub(crate) wrong: Vec<String>,
}

impl Device {
    /// Provisions a flash, and lets a device live over the repository in this directory.
    pub(crate) fn new(images: &Images, repository: &Path) -> Result<Device, Failure> {
        let flash = provisioned(repository)?;
        let mut device = Device::default();
        let (agent, boot) = (&images.agent.path, &images.boot.path);
        let delegates = repository.join("1.bins-0000.json").exists();
        device.start(&emulate(boot, repository)?, [ACTIVE, 0, 1, 1])?;
        device.update(&emulate(agent, repository)?, delegates)?;
        device.start(&emulate(boot, repository)?, [TRIAL, 2, 1, 2])?;
        device.confirm(&emulate(agent, repository)?)?;
        device.start(&emulate(boot, repository)?, [ACTIVE, 0, 1, 2])?;
        let bytes = fs::read(&flash).map_err(|error| file(&flash, error))?;
        let slot = LAYOUT.slot_b.offset as usize..LAYOUT.slot_b.end() as usize;
        device.expect("the image in slot B", bytes.get(slot) == Some(repository::image().as_slice()));
        Ok(device)
    }

    /// What the bootloader said.
    fn start(&mut self, said: &str, expected: [u64; 4]) -> Result<(), Failure> {
        let lines = lines(said).ok_or_else(|| refused(said))?;
        let [("start", &[reason, tries, recorded, sequence, length, spent, stack])] = borrowed(&lines)[..]
        else {
            return Err(refused(said));
        };
        self.boot_stack = self.boot_stack.max(stack);
        if length == IMAGE {
            self.decision = self.decision.max(spent * TICK);
        }
        self.expect("a start", [reason, tries, recorded, sequence] == expected);
        Ok(())
    }

    /// What the agent said that installed a release and refused forged ones.
    fn update(&mut self, said: &str, delegates: bool) -> Result<(), Failure> {
        let all = lines(said).ok_or_else(|| refused(said))?;
        let all = borrowed(&all);
        let &[
            ("turn", honest),
            ("spent", &[bytes, _, installing, _]),
            ("sizes", sizes),
            ref forged @ ..,
            ("lost", lost),
            ("spent", _),
        ] = all.as_slice()
        else {
            return Err(refused(said));
        };
        let &[0, 0, how, sequence, _, _, timestamp, snapshot, targets, stack] = honest else {
            return Err(refused(said));
        };
        let &[engine, flash, turn, refresh, work, trusted, memory] = sizes else { return Err(refused(said)) };
        self.memory =
            (engine + turn + work).saturating_sub(flash + refresh + trusted + memory + WRITE_BUFFER);
        self.stack = self.stack.max(stack);
        self.installing = installing * TICK;
        let right = [how, sequence, timestamp, snapshot, targets, bytes] == [INSTALL, 2, 1, 1, 1, IMAGE];
        self.expect("the release", right);
        let &[0, 0, how, sequence, .., timestamp, snapshot, targets, stack] = lost else {
            return Err(refused(said));
        };
        self.stack = self.stack.max(stack);
        let right = [how, sequence, timestamp, snapshot, targets] == [INSTALL, 2, 1, 1, 1];
        self.expect("the release, for a device that lost its trust store", right);

        let roles = VERDICTS.iter().take(if delegates { 4 } else { 3 });
        let mut verdicts: Vec<(u64, &Verdict, u64)> =
            roles.flat_map(|verdict| [(verdict.role, verdict, 0), (verdict.role, verdict, 1)]).collect();
        let files = if delegates { IMAGE_BINS } else { IMAGE_FOUR_ROLES };
        let image = Verdict { role: IMAGE_ROLE, code: IMAGE_DIGEST, files, versions: [1, 1, 1] };
        verdicts.push((IMAGE_ROLE, &image, 0));
        let turns: Vec<_> = forged.chunks(3).collect();
        if turns.len() != verdicts.len() {
            return Err(refused(said));
        }
        for (said, (role, verdict, digit)) in turns.into_iter().zip(verdicts) {
            let &[("forged", ended), ("spent", _), ("untouched", untouched)] = said else {
                return Err(refused(&format!("{said:?}")));
            };
            let [t, s, v] = verdict.versions;
            // A look begins with the timestamp alone, which is asked for once more behind the roots.
            let expected = [role, digit, REFUSED, verdict.code, role, verdict.files + 1, t, s, v];
            self.stack = self.stack.max(ended.last().copied().unwrap_or_default());
            if ended.get(..9) == Some(&expected) && untouched == [0, 0] {
                self.refused += 1;
            } else {
                self.wrong.push(format!("not refused as it should be: {said:?}, but {expected:?}"));
            }
        }
        Ok(())
    }

    /// What the agent said that was on trial.
    fn confirm(&mut self, said: &str) -> Result<(), Failure> {
        let lines = lines(said).ok_or_else(|| refused(said))?;
        let lines = borrowed(&lines);
        let &[ref turns @ .., ("append", &[appends, spent, most])] = lines.as_slice() else {
            return Err(refused(said));
        };
        let ends = [("turn", [CONFIRMED, 2]), ("settle", [UP_TO_DATE, 0]), ("poll", [UP_TO_DATE, 0])];
        if turns.len() != 2 * ends.len() {
            return Err(refused(said));
        }
        for (turn, (name, end)) in turns.chunks(2).zip(ends) {
            let &[(said_name, &[_, _, how, number, .., stack]), ("spent", &[_, calls, _, _])] = turn else {
                return Err(refused(said));
            };
            self.stack = self.stack.max(stack);
            self.poll = calls * TICK;
            self.expect(name, said_name == name && [how, number] == end);
        }
        self.append = (spent * TICK).checked_div(appends).unwrap_or_default();
        self.dearest_append = most * TICK;
        Ok(())
    }

    fn expect(&mut self, what: &str, right: bool) {
        if right {
            self.accepted += 1;
        } else {
            self.wrong.push(format!("not as it should be: {what}"));
        }
    }

    /// Instructions for each KiB of the image.
    pub(crate) fn per_kib(instructions: u64) -> u64 {
        instructions / (IMAGE / 1024)
    }
}

/// Files asked for until the image has come, counted as in a [`Verdict`]. With bins the snapshot is read three times, and
/// two bins are.
const IMAGE_FOUR_ROLES: u64 = 5;
const IMAGE_BINS: u64 = 10;

/// A flash as a factory leaves it, in the repository's directory.
fn provisioned(repository: &Path) -> Result<PathBuf, Failure> {
    let map = FlashMap::new(LAYOUT).map_err(|fault| Failure::Refused(fault.to_string()))?;
    for name in ["flash", "running"] {
        let path = repository.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(|error| file(&path, error))?;
        }
    }
    let path = repository.join("flash");
    let nor = FileFlash::<4096, 4>::create_with(&path, &map).map_err(|error| file(&path, error))?;
    let root = repository.join("1.root.json");
    let root = fs::read(&root).map_err(|error| file(&root, error))?;
    let (product, hardware, channel) = ("lamp", "rev-a", "stable");
    let factory = Factory { root: &root, product, hardware, channel, counter: 0, built: NOW - DAY };
    let image = FactoryImage { bytes: &[0x11; 20_000], sequence: 1, version: "1.0.0" };
    let done = Flash::new(nor, map).and_then(|mut flash| provision(&mut flash, &SOFTWARE, &factory, &image));
    done.map_err(|error| Failure::Refused(format!("the flash cannot be provisioned: {error}")))?;
    Ok(path)
}

/// Lines of a word and numbers; `None` if there is anything else.
fn lines(said: &str) -> Option<Vec<(&str, Vec<u64>)>> {
    said.lines()
        .map(|line| {
            let (name, numbers) = line.split_once(' ').unwrap_or((line, ""));
            Some((name, numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?))
        })
        .collect()
}

fn borrowed<'l>(lines: &'l [(&'l str, Vec<u64>)]) -> Vec<(&'l str, &'l [u64])> {
    lines.iter().map(|(name, numbers)| (*name, numbers.as_slice())).collect()
}

fn refused(said: &str) -> Failure {
    Failure::Refused(format!("the device said:\n{said}"))
}
