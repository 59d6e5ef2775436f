//! The engine, turn by turn, with a product that allows or does not.

use core::cell::Cell;

use tuffet_agent::agent::{drive, drive_until};
use tuffet_agent::boot::{BootRecord, SlotImage, decide_boot};
use tuffet_agent::engine::{Engine, Outcome, Source, Want, Work};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::handover::Direct;
use tuffet_agent::journal::Kind;
use tuffet_agent::product::{Ask, Health, Now, Product};
use tuffet_agent::progress::Progress;
use tuffet_agent::schedule::{ERASES_A_DAY, Settings};
use tuffet_agent::{
    Environment, Error, Event, FactoryImage, Flash, Rejected, TransportFault, Trust, provision,
};
use tuffet_client::{Clock, Role, SOFTWARE};

use crate::agent::{TestNor, decay, device, factory, map, release, repository};
use crate::nor::{Cut, Nor, Operation, Tear};
use crate::repository::{DAY, Mirror, NOW, Repository};

/// A product that allows what it is told to.
pub(crate) struct Lamp {
    pub(crate) now: Now,
    /// What it does not allow: check, download, install, restart.
    pub(crate) denied: Vec<&'static str>,
    /// And this, once.
    pub(crate) denied_once: Option<&'static str>,
    pub(crate) health: Health,
    /// What it was asked.
    pub(crate) asked: Vec<&'static str>,
    pub(crate) resumed: Vec<u32>,
}

impl Lamp {
    fn new() -> Self {
        let (denied, asked, resumed) = (Vec::new(), Vec::new(), Vec::new());
        Self { now: Clock::At(NOW).into(), denied, denied_once: None, health: Health::Good, asked, resumed }
    }
}

impl Product for Lamp {
    fn now(&mut self) -> Now {
        self.now
    }

    fn may(&mut self, what: Ask<'_>) -> bool {
        let what = match what {
            Ask::Check => "check",
            Ask::Download(_) => "download",
            Ask::Install(_) => "install",
            Ask::Restart(_) => "restart",
        };
        self.asked.push(what);
        !self.denied.contains(&what) && self.denied_once.take_if(|once| *once == what).is_none()
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        self.health
    }

    fn observe(&mut self, event: Event<'_>) {
        if let Event::Resumed(at) = event {
            self.resumed.push(at);
        }
    }
}

/// A device between two turns: its flash, and the engine that a start begins with.
pub(crate) struct Device<'a> {
    pub(crate) engine: Engine<'a, TestNor, Direct>,
    pub(crate) mirror: Mirror,
    pub(crate) lamp: Lamp,
    root: &'a [u8],
    pub(crate) settings: Settings,
}

impl<'a> Device<'a> {
    pub(crate) fn new(root: &'a [u8], repository: &Repository) -> Self {
        let flash = device(root);
        Self::start(root, flash, Mirror::of(repository), Settings::default())
    }

    pub(crate) fn start(
        root: &'a [u8],
        mut flash: Flash<TestNor>,
        mirror: Mirror,
        settings: Settings,
    ) -> Self {
        let running = decide_boot(&mut flash).unwrap().start.digest;
        let direct = Direct { running: Some(running) };
        let engine = Engine::new(flash, direct, &SOFTWARE, factory(root), b"lamp-17").with(settings);
        Self { engine, mirror, lamp: Lamp::new(), root, settings }
    }

    /// Off and on again.
    pub(crate) fn restart(&mut self) {
        let flash = self.engine.flash_mut();
        let (nor, map) = (flash.nor_mut().clone(), *flash.map());
        let flash = Flash::new(nor, map).unwrap();
        *self = Self {
            lamp: Lamp {
                now: self.lamp.now,
                resumed: core::mem::take(&mut self.lamp.resumed),
                ..Lamp::new()
            },
            ..Self::start(self.root, flash, self.mirror.clone(), self.settings)
        };
    }

    /// A turn: how it ended, and what is to be done then.
    pub(crate) fn turn(&mut self) -> (Result<Outcome, Error>, Want) {
        self.mirror.requests.clear();
        self.mirror.sent.clear();
        self.lamp.asked.clear();
        let Self { engine, mirror, lamp, .. } = self;
        let mut work = Work::default();
        let mut turn = engine.turn(&mut work, Source::Repository, lamp).unwrap();
        let outcome = drive(&mut turn, mirror, lamp);
        (outcome, turn.want())
    }

    /// A turn whose power may fail, or that cannot begin.
    pub(crate) fn attempt(&mut self) {
        let Self { engine, mirror, lamp, .. } = self;
        let mut work = Work::default();
        if let Ok(mut turn) = engine.turn(&mut work, Source::Repository, lamp) {
            let _ = drive(&mut turn, mirror, lamp);
        }
    }

    /// A turn whose power fails after so many steps: a file that is asked for, a chunk, the end of a file.
    pub(crate) fn cut_after(&mut self, steps: usize) {
        self.mirror.requests.clear();
        self.mirror.sent.clear();
        let Self { engine, mirror, lamp, .. } = self;
        let mut work = Work::default();
        let mut turn = engine.turn(&mut work, Source::Repository, lamp).unwrap();
        let left = Cell::new(steps);
        let stop = || left.replace(left.get().saturating_sub(1)) == 0;
        drive_until(&mut turn, mirror, lamp, &stop);
    }

    pub(crate) fn outcome(&mut self) -> Outcome {
        self.turn().0.unwrap()
    }

    /// Is started again and again, each time before its pause is over: the pauses, and the turn that does not wait any more.
    pub(crate) fn restart_until_it_asks(&mut self) -> (Vec<u32>, Result<Outcome, Error>) {
        let mut waits = Vec::new();
        loop {
            self.restart();
            match self.turn() {
                (Ok(Outcome::TooEarly), Want::Wait(seconds)) => waits.push(seconds),
                (outcome, _) => return (waits, outcome),
            }
            assert!(self.mirror.requests.is_empty());
        }
    }

    /// Bytes that came in the last turn.
    pub(crate) fn received(&self) -> usize {
        self.mirror.sent.values().sum()
    }

    pub(crate) fn trust(&mut self) -> Trust {
        self.engine.trust().unwrap()
    }

    pub(crate) fn later(&mut self, seconds: u64) {
        let Clock::At(now) = self.lamp.now.clock else { return };
        self.lamp.now.clock = Clock::At(now + seconds);
    }
}

#[test]
fn device_lives_from_turn_to_turn() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let (outcome, want) = device.turn();
    let Ok(Outcome::Pending(image)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(want, Want::Restart);
    assert_eq!(device.lamp.asked, ["check", "download", "install", "restart"]);
    device.restart();
    assert_eq!(device.turn(), (Ok(Outcome::Confirmed(image)), Want::Wait(1)));
    // What there is to do is looked up once under the new sequence; from then on the timestamp tells.
    assert_eq!(device.outcome(), Outcome::UpToDate);
    device.engine.flash_mut().nor_mut().plan(None);
    let (outcome, want) = device.turn();
    assert_eq!(outcome, Ok(Outcome::UpToDate));
    assert_eq!(device.mirror.requests, ["timestamp.json"]);
    assert_eq!(device.engine.flash_mut().nor_mut().operations, [], "nothing new writes nothing");
    let Want::Wait(seconds) = want else { panic!("{want:?}") };
    assert!((3150..=4050).contains(&seconds), "{seconds}");
    // Whoever asks gets the specification's order.
    device.engine.hurry();
    assert_eq!(device.outcome(), Outcome::UpToDate);
    assert_eq!(device.mirror.requests, ["2.root.json", "timestamp.json"]);
}

#[test]
fn product_is_asked_before_each_step_and_again_until_it_allows() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let image = repository.releases[0].file();

    device.lamp.denied = vec!["check"];
    assert_eq!(device.turn(), (Ok(Outcome::NotAllowed), Want::Wait(60)));
    assert!(device.mirror.requests.is_empty());

    device.lamp.denied = vec!["download"];
    device.engine.flash_mut().nor_mut().plan(None);
    let (outcome, want) = device.turn();
    assert_eq!(outcome, Ok(Outcome::NotAllowed));
    assert!(
        matches!(want, Want::Wait(3150..=4050)),
        "what it is about costs a look at the repository: {want:?}"
    );
    assert!(!device.mirror.requests.contains(&image));
    let slot_b = map().layout().slot_b.offset as usize;
    let operations = &device.engine.flash_mut().nor_mut().operations;
    assert!(operations.iter().all(|operation| operation.range().end <= slot_b), "nothing was erased");

    device.lamp.denied = vec!["install"];
    let (outcome, want) = device.turn();
    let Ok(Outcome::Staged(staged)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(want, Want::Wait(60));
    assert_eq!(BootRecord::load(device.engine.flash_mut()).unwrap().trial, None);
    // As long as it says no nothing is asked of the repository; and nothing comes once more.
    assert_eq!(device.outcome(), Outcome::Staged(staged.clone()));
    assert!(device.mirror.requests.is_empty());

    device.lamp.denied = vec!["restart"];
    assert_eq!(device.turn(), (Ok(Outcome::Pending(staged.clone())), Want::Wait(60)));
    assert!(!device.mirror.requests.contains(&image), "it is in its slot");
    assert!(device.mirror.requests.contains(&"timestamp.json".to_owned()), "and authorised again");
    assert_eq!(device.turn(), (Ok(Outcome::Pending(staged.clone())), Want::Wait(60)));
    assert!(device.mirror.requests.is_empty());

    // A product that changes its mind in the middle of a turn restarts at none that was not authorised.
    device.lamp.denied_once = Some("restart");
    device.lamp.denied.clear();
    assert_eq!(device.turn(), (Ok(Outcome::Pending(staged.clone())), Want::Wait(60)));
    assert!(device.mirror.requests.is_empty());

    // When at last it may, the repository is asked once more: rule 5.
    let mut withdrawn = device.engine.flash_mut().nor_mut().clone();
    assert_eq!(device.turn(), (Ok(Outcome::Pending(staged)), Want::Restart));
    assert!(device.mirror.requests.contains(&"timestamp.json".to_owned()));
    core::mem::swap(device.engine.flash_mut().nor_mut(), &mut withdrawn);
    let gone = Repository { version: 6, releases: vec![release(1, "0.9.0", 900)], ..repository };
    device.mirror = Mirror::of(&gone);
    assert_eq!(device.turn(), (Ok(Outcome::Superseded), Want::Wait(60)));
    assert_eq!(BootRecord::load(device.engine.flash_mut()).unwrap().trial, None);
    assert_eq!(device.outcome(), Outcome::UpToDate);
}

#[test]
fn failures_lengthen_the_pause_and_outlive_a_restart() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.mirror.faults.insert("timestamp.json".into(), (0, TransportFault::Connection));
    let mut pauses = Vec::new();
    for failures in 1..=14 {
        let (outcome, want) = device.turn();
        assert_eq!(outcome, Err(TransportFault::Connection.into()));
        let Want::Wait(pause) = want else { panic!("{want:?}") };
        let longest = (60_u32 << (failures - 1)).min(86_400);
        assert!(longest / 2 <= pause && pause <= longest, "{failures}: {pause}");
        pauses.push(pause);
    }
    // After a restart it waits first. One that is switched off before that is over waits less each time, and then asks.
    device.mirror.faults.clear();
    let (waits, outcome) = device.restart_until_it_asks();
    assert_eq!((waits[0], waits.len()), (*pauses.last().unwrap(), 4), "{waits:?}");
    assert!(matches!(outcome, Ok(Outcome::Pending(_))));
    assert_eq!(Progress::load(device.engine.flash_mut()).failures, 0);
    // But not if somebody asks.
    let mut device = Device::new(&root, &repository);
    device.mirror.faults.insert("timestamp.json".into(), (0, TransportFault::Connection));
    device.turn().0.unwrap_err();
    device.mirror.faults.clear();
    device.restart();
    device.engine.hurry();
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
}

#[test]
fn server_that_refuses_is_not_asked_again_at_once() {
    let repository = repository();
    let root = repository.first_root();
    let pause = |fault| {
        let mut device = Device::new(&root, &repository);
        device.mirror.faults.insert("timestamp.json".into(), (0, fault));
        device.mirror.files.remove("timestamp.json");
        let (outcome, want) = device.turn();
        outcome.unwrap_err();
        let Want::Wait(pause) = want else { panic!("{want:?}") };
        pause
    };
    assert!(pause(TransportFault::Status { code: 500 }) <= 60);
    let refusals = [400, 403, 410, 451].map(|code| TransportFault::Status { code });
    for fault in refusals.into_iter().chain([TransportFault::NotFound]) {
        let pause = pause(fault);
        assert!((3150..=4050).contains(&pause), "{fault:?}: {pause}");
    }
    assert_eq!(pause(TransportFault::Busy { code: 503, after: 1234 }), 1234);
    assert!(pause(TransportFault::Busy { code: 429, after: 1 }) >= 30, "not earlier than it would have");
    // Nobody silences a fleet for good.
    assert_eq!(pause(TransportFault::Busy { code: 503, after: u32::MAX }), 86_400);
}

#[test]
fn image_comes_day_by_day_where_a_day_has_few_bytes() {
    // However little is allowed, two erase units and 8 KiB are.
    const LEAST: usize = 2 * 256 + 8192;
    let large = vec![release(7, "1.0.0", 12_000)];
    let repository = Repository { timestamp_expires: NOW + 9 * DAY, releases: large, ..repository() };
    let root = repository.first_root();
    // Slots that are larger than a day.
    let Layout { slot_a, slot_b, .. } = *map().layout();
    let slots = [slot_a.offset, slot_a.offset + 0x4000].map(|offset| Region { offset, length: 0x4000 });
    assert!(slot_b.offset > slot_a.offset);
    let map = FlashMap::new(Layout { slot_a: slots[0], slot_b: slots[1], ..*map().layout() }).unwrap();
    let mut flash = Flash::new(Nor::new(map.capacity(), 0xFF), map).unwrap();
    let image = FactoryImage { bytes: &[0x42; 1700], sequence: 1, version: "0.9.0" };
    provision(&mut flash, &SOFTWARE, &factory(&root), &image).unwrap();
    let settings = Settings { bytes_a_day: 100, ..Settings::default() };
    let mut device = Device::start(&root, flash, Mirror::of(&repository), settings);
    let (mut days, mut sent) = (0, 0);
    let pending = loop {
        let (outcome, want) = device.turn();
        days += 1;
        sent += device.received();
        assert!(device.received() <= LEAST + 100, "day {days}: {} bytes", device.received());
        match outcome.unwrap() {
            Outcome::Pending(image) => break image,
            Outcome::Spent => assert!(matches!(want, Want::Wait(3600..)), "{want:?}"),
            other => panic!("{other:?}"),
        }
        // On the same day there is nothing more, not even after a restart.
        device.restart();
        assert_eq!(device.outcome(), Outcome::Spent);
        assert_eq!(device.received(), 0);
        device.later(DAY);
    };
    assert_eq!(pending.sequence, 7);
    assert!(days >= 3, "{days}");
    assert!(!device.lamp.resumed.is_empty());
    assert!(sent < days * (LEAST + 100), "{sent}");
}

#[test]
fn slot_is_erased_so_often_a_day_and_no_more() {
    let repository = Repository { timestamp_expires: NOW + 9 * DAY, ..repository() };
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let file = repository.releases[0].file();
    let good = device.mirror.files.insert(file.clone(), vec![0; 3000]).unwrap();
    for _ in 0..ERASES_A_DAY {
        assert_eq!(device.turn().0, Err(Rejected::ImageDigest.into()));
    }
    device.engine.flash_mut().nor_mut().plan(None);
    assert_eq!(device.outcome(), Outcome::Spent);
    device.restart();
    // One that failed waits after a restart.
    assert_eq!(device.outcome(), Outcome::TooEarly);
    assert_eq!(device.outcome(), Outcome::Spent);
    assert!(!device.mirror.requests.contains(&file));
    device.later(DAY);
    device.mirror.files.insert(file, good);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
}

#[test]
fn device_without_a_clock_knows_the_day_by_what_was_signed_and_by_its_uptime() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.lamp.now = Clock::Unknown.into();
    let file = repository.releases[0].file();
    device.mirror.files.insert(file, vec![0; 3000]);
    let mut failed = 0;
    while device.turn().0 == Err(Rejected::ImageDigest.into()) {
        failed += 1;
    }
    // The first of them was on the day on which the image was built, the others on the day of the timestamp.
    assert!(failed == ERASES_A_DAY || failed == ERASES_A_DAY + 1, "{failed}");
    assert_eq!(device.outcome(), Outcome::Spent);
    device.lamp.now.uptime = 86_400;
    assert_eq!(device.turn().0, Err(Rejected::ImageDigest.into()));
    // A clock that goes back and forth gives nothing back.
    while device.turn().0 == Err(Rejected::ImageDigest.into()) {}
    device.lamp.now = Clock::At(NOW - 2 * DAY).into();
    assert_eq!(device.outcome(), Outcome::Spent);
}

#[test]
fn trial_goes_on_until_the_image_is_healthy_and_has_reached_its_repository() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    device.restart();
    device.lamp.health = Health::Unknown;
    let (outcome, want) = device.turn();
    let Ok(Outcome::Undecided(image)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(want, Want::Wait(5));
    device.lamp.health = Health::Good;
    device.mirror.faults.insert("timestamp.json".into(), (10, TransportFault::Connection));
    let tries = BootRecord::load(device.engine.flash_mut()).unwrap().trial.unwrap().tries_left;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let (outcome, want) = device.turn();
        let fault = TransportFault::Connection.into();
        assert_eq!(outcome, Ok(Outcome::NoContact(image.clone(), fault)));
        pauses.push(want);
    }
    assert!(pauses.windows(2).all(|two| two[0] != two[1]), "{pauses:?}");
    let busy = TransportFault::Busy { code: 503, after: 7777 };
    device.mirror.faults.insert("timestamp.json".into(), (10, busy));
    assert_eq!(device.turn(), (Ok(Outcome::NoContact(image.clone(), busy.into())), Want::Wait(7777)));
    // No contact is no failed attempt, and takes no try.
    let trial = BootRecord::load(device.engine.flash_mut()).unwrap().trial.unwrap();
    assert_eq!(trial.tries_left, tries);
    assert_eq!(Progress::load(device.engine.flash_mut()).failures, 0);
    device.mirror.faults.clear();
    assert_eq!(device.outcome(), Outcome::Confirmed(image));
    assert_eq!(device.trust().memory.counter, 3);
}

#[test]
fn image_on_trial_reverts_and_its_predecessor_reads_all_that_it_wrote() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    device.restart();
    // The new agent follows a new root, does not get the timestamp, notes what it has to, and finds itself unfit.
    let newer = Repository { online_keys: vec!["online", "second"], ..repository.clone() };
    device.mirror = Mirror::of(&newer);
    device.mirror.faults.insert("timestamp.json".into(), (10, TransportFault::Connection));
    device.engine.flash_mut().nor_mut().plan(None);
    assert!(matches!(device.outcome(), Outcome::NoContact(..)));
    assert!(!device.engine.flash_mut().nor_mut().operations.is_empty());
    device.lamp.health = Health::Bad;
    let (outcome, want) = device.turn();
    let Ok(Outcome::Reverted(image)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((want, image.sequence), (Want::Restart, 7));
    // The old one goes on where it was: nothing lost, the failure entered, the image passed over.
    device.restart();
    device.mirror = Mirror::of(&newer);
    let trust = device.trust();
    assert_eq!((trust.lost, trust.memory.counter, trust.trusted.root().version()), (None, 1, 2));
    assert_eq!(device.outcome(), Outcome::UpToDate);
    let trust = device.trust();
    assert_eq!(trust.memory.ledger.failures().count(), 1);
    assert_eq!(trust.trusted.floors().timestamp_version(), Some(5));
}

#[test]
fn download_that_breaks_off_goes_on_by_a_range() {
    let repository = repository();
    let root = repository.first_root();
    let file = repository.releases[0].file();
    for restarts in [false, true] {
        let mut device = Device::new(&root, &repository);
        device.mirror.faults.insert(file.clone(), (2000, TransportFault::Timeout));
        assert_eq!(device.turn().0, Err(TransportFault::Timeout.into()));
        assert_eq!(device.mirror.sent[&file], 2000);
        if restarts {
            device.restart();
        }
        device.mirror.faults.clear();
        assert!(matches!(device.outcome(), Outcome::Pending(_)));
        // Erase units and pages have 256 bytes: the seventh page was the last that was written, and a cut may have torn it.
        let whole = if restarts { 1536 } else { 1792 };
        assert_eq!(device.lamp.resumed, [whole]);
        assert_eq!(device.mirror.sent[&file], 3000 - whole as usize);
    }
    // A server that has it no longer in that length makes it come anew.
    let mut device = Device::new(&root, &repository);
    device.mirror.faults.insert(file.clone(), (2000, TransportFault::Timeout));
    device.turn().0.unwrap_err();
    device.mirror.faults.clear();
    device.mirror.faults.insert(file, (0, TransportFault::Range { from: 1792 }));
    assert_eq!(device.turn().0, Err(TransportFault::Range { from: 1792 }.into()));
    device.mirror.faults.clear();
    device.lamp.resumed.clear();
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    assert_eq!(device.lamp.resumed, [0; 0]);
}

#[test]
fn another_selection_drops_what_came_of_the_first() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.mirror.faults.insert(repository.releases[0].file(), (2000, TransportFault::Timeout));
    device.turn().0.unwrap_err();
    let other = Repository { version: 6, releases: vec![release(8, "1.0.1", 2500)], ..repository };
    device.mirror = Mirror::of(&other);
    let Outcome::Pending(image) = device.outcome() else { panic!() };
    assert_eq!(image.sequence, 8);
    assert_eq!(device.lamp.resumed, [0; 0]);
}

#[test]
fn image_that_crashes_is_tried_again_after_a_day_and_then_after_two() {
    let repository = Repository { timestamp_expires: NOW + 30 * DAY, ..repository() };
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let file = repository.releases[0].file();
    let trial = |device: &mut Device<'_>| {
        assert!(matches!(device.outcome(), Outcome::Pending(_)));
        let came = device.mirror.requests.contains(&file);
        // Three starts that end in a crash, and one of the image before it.
        (0..4).for_each(|_| device.restart());
        came
    };
    let came: Vec<bool> = (0..3).map(|_| trial(&mut device)).collect();
    assert_eq!(came, [true, false, false], "the image stays in its slot");
    assert_eq!(device.outcome(), Outcome::UpToDate);
    // It is noon.
    device.later(DAY / 2 - 1);
    assert_eq!(device.outcome(), Outcome::UpToDate);
    device.later(1);
    assert!(!trial(&mut device));
    assert_eq!(device.outcome(), Outcome::UpToDate);
    device.later(DAY);
    assert_eq!(device.outcome(), Outcome::UpToDate, "two days, now");
    device.restart();
    device.later(DAY);
    assert!(!trial(&mut device));
    // Whoever signs a later release of the same image need not wait.
    device.mirror =
        Mirror::of(&Repository { version: 6, releases: vec![release(8, "1.0.0", 3000)], ..repository });
    assert!(matches!(device.outcome(), Outcome::Pending(image) if image.sequence == 8));
}

#[test]
fn floors_that_may_read_again_are_not_written_over_by_what_is_under_way() {
    let repository = repository();
    let root = repository.first_root();
    for kinds in [vec![Kind::Floors], vec![Kind::Root, Kind::Floors]] {
        let mut device = Device::new(&root, &repository);
        assert!(matches!(device.outcome(), Outcome::Pending(_)));
        device.restart();
        device.lamp.health = Health::Bad;
        assert!(matches!(device.outcome(), Outcome::Reverted(_)));
        device.restart();
        let intact = device.trust();
        kinds.iter().for_each(|kind| decay(device.engine.flash_mut().nor_mut(), *kind));
        device.mirror.faults.insert("timestamp.json".into(), (0, TransportFault::Connection));
        device.engine.flash_mut().nor_mut().plan(None);
        for _ in 0..5 {
            device.turn().0.unwrap_err();
        }
        assert_eq!(device.engine.flash_mut().nor_mut().operations, []);
        device.engine.flash_mut().nor_mut().heal();
        assert_eq!(device.trust(), intact);
    }
}

#[test]
fn pending_image_that_is_no_target_any_more_is_taken_back() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.lamp.denied = vec!["restart"];
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    // The entry is still there, the image is not.
    let bare = Repository { version: 6, without_images: true, ..repository };
    device.mirror = Mirror::of(&bare);
    device.lamp.denied.clear();
    assert_eq!(device.turn(), (Ok(Outcome::Superseded), Want::Wait(60)));
    assert_eq!(BootRecord::load(device.engine.flash_mut()).unwrap().trial, None);
}

#[test]
fn pending_image_is_looked_after_while_it_may_not_start() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.lamp.denied = vec!["restart"];
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    // Asked each minute, it looks at the repository once an hour: whoever pulls the battery restarts, too.
    let mut looks = 0;
    for _ in 0..61 {
        assert!(matches!(device.outcome(), Outcome::Pending(_)));
        looks += usize::from(!device.mirror.requests.is_empty());
    }
    assert_eq!(looks, 1);
}

#[test]
fn given_up_image_that_still_runs_is_not_written_over() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    device.restart();
    (device.lamp.health, device.lamp.denied) = (Health::Bad, vec!["restart"]);
    let (outcome, want) = device.turn();
    assert!(matches!(outcome, Ok(Outcome::Reverted(_))) && want == Want::Wait(60), "{outcome:?}, {want:?}");
    let next = Repository { version: 6, releases: vec![release(8, "1.0.1", 2500)], ..repository };
    device.mirror = Mirror::of(&next);
    device.engine.flash_mut().nor_mut().plan(None);
    let mut work = Work::default();
    let error = device.engine.turn(&mut work, Source::Repository, &mut device.lamp).err().unwrap();
    assert_eq!(error, Environment::GivenUpRuns.into());
    assert_eq!(device.engine.after(&error, &mut device.lamp), Want::Wait(60));
    device.lamp.denied.clear();
    assert_eq!(device.engine.after(&error, &mut device.lamp), Want::Restart);
    assert_eq!(device.engine.flash_mut().nor_mut().operations, []);
}

#[test]
fn pending_image_that_decayed_comes_anew() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    let slot_b = map().layout().slot_b.offset as usize;
    device.engine.flash_mut().nor_mut().decay(slot_b + 300..slot_b + 304);
    let (outcome, _) = device.turn();
    assert!(matches!(outcome, Err(Error::Environment(Environment::ImageNotWritten { .. }))), "{outcome:?}");
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    device.restart();
    assert!(matches!(device.outcome(), Outcome::Confirmed(_)));
}

#[test]
fn cuts_while_a_slot_is_erased_count_as_erases() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let slot_b = map().layout().slot_b.offset as usize;
    let erases =
        |operation: &Operation| matches!(operation, Operation::Erase(range) if range.start >= slot_b);
    for erased in 0..ERASES_A_DAY {
        assert_eq!(Progress::load(device.engine.flash_mut()).erased, erased);
        let before = device.engine.flash_mut().nor_mut().clone();
        device.engine.flash_mut().nor_mut().plan(None);
        device.turn().0.unwrap();
        let operation = device.engine.flash_mut().nor_mut().operations.iter().position(erases).unwrap();
        *device.engine.flash_mut().nor_mut() = before;
        device.engine.flash_mut().nor_mut().plan(Some(Cut { operation, tear: Tear::Within { done: 0 } }));
        let _ = device.turn();
        device.engine.flash_mut().nor_mut().power_on();
        device.restart();
    }
    assert_eq!(device.outcome(), Outcome::Spent);
}

#[test]
fn root_that_is_lost_alone_leaves_floors_that_a_later_root_brought() {
    let rotated = Repository { version: 40, online_keys: vec!["online", "second"], ..repository() };
    let root = rotated.first_root();
    let mut device = Device::new(&root, &rotated);
    device.lamp.denied = vec!["install"];
    device.outcome();
    assert_eq!(device.trust().trusted.floors().timestamp_version(), Some(40));
    decay(device.engine.flash_mut().nor_mut(), Kind::Root);
    assert_eq!(device.trust().trusted.floors().timestamp_version(), Some(40));
    device.lamp.denied.clear();
    device.restart();
    // A mirror that replays what was signed before, by the same keys.
    device.mirror = Mirror::of(&Repository { version: 5, ..rotated.clone() });
    let (outcome, _) = device.turn();
    let back = tuffet_client::Rejected::Rollback { role: Role::Timestamp, trusted: 40, offered: 5 };
    assert_eq!(outcome, Err(Rejected::Metadata(back).into()));
    device.mirror = Mirror::of(&rotated);
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    assert_eq!(device.trust().lost, None);
}
