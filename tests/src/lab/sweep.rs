//! Which cuts are tried, on which flashes, and how many those are.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use super::device::{Device, Stop};
use super::loader::Loader;
use super::nor::{Cut, Tear};
use super::world::{Scenario, ServerFault, World};

/// A kind of flash.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Erase unit, write unit and erased value, as `4096/1/ff`.
    pub name: &'static str,
    /// Where there is one like it.
    pub like: &'static str,
    erased: u8,
    sweep: fn(Job, &World, &Plan) -> Result<Count, Failure>,
    replay: fn(&World, &Case, &Plan) -> Result<(), String>,
    /// Bytes of an image: some erase units, and a part of a page; of large units a part of one.
    image: usize,
}

macro_rules! geometry {
    ($erase:literal, $write:literal, $erased:literal, $image:expr, $like:literal) => {
        Geometry {
            name: concat!($erase, "/", $write, "/", $erased),
            like: $like,
            erased: byte($erased),
            sweep: sweep::<$erase, $write>,
            replay: |world, case, plan| replay::<$erase, $write>(byte($erased), world, case, plan),
            image: $image,
        }
    };
}

/// Erase units from 256 bytes to 128 KiB, write units from one byte to 32, erased to ones or to zeros.
pub const GEOMETRIES: [Geometry; 10] = [
    geometry!(256, 1, "ff", 700, "the row of a SAM D21, written by bytes"),
    geometry!(256, 4, "00", 700, "STM32L1, which erases to zeros"),
    geometry!(512, 2, "ff", 1200, "MSP430"),
    geometry!(1024, 4, "ff", 2300, "nRF51"),
    geometry!(2048, 8, "ff", 2300, "STM32G0, with error correction over 8 bytes"),
    geometry!(4096, 1, "ff", 700, "the sub-sector of a serial NOR"),
    geometry!(4096, 4, "00", 700, "erased to zeros"),
    geometry!(8192, 16, "ff", 700, "STM32U5"),
    geometry!(65536, 1, "ff", 700, "the sector of a serial NOR"),
    geometry!(131072, 32, "ff", 700, "STM32H7, with error correction over 32 bytes"),
];

const fn byte(erased: &str) -> u8 {
    if erased.as_bytes()[0] == b'f' { 0xFF } else { 0x00 }
}

impl Geometry {
    /// The flashes on which a bootloader is tried if nobody says otherwise: all for the one that is ours, and for each of the
    /// others small ones, which differ in write unit and erased value as far as it takes them.
    #[must_use]
    pub fn of(loader: Loader) -> Vec<Geometry> {
        let names: &[&str] = match loader {
            Loader::Direct => return GEOMETRIES.to_vec(),
            Loader::Embassy => &["256/1/ff", "512/2/ff", "2048/8/ff"],
            Loader::Mcuboot(_) => &["256/4/00", "2048/8/ff"],
        };
        GEOMETRIES.into_iter().filter(|geometry| names.contains(&geometry.name)).collect()
    }
}

/// What is tried as one.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The bootloader.
    pub loader: Loader,
    /// The flash.
    pub geometry: Geometry,
    /// What happens.
    pub scenario: Scenario,
}

impl Job {
    /// Those of these bootloaders, on these flashes or on [`Geometry::of`], that can be: without a way back an image that
    /// crashes is the end.
    #[must_use]
    pub fn all(loaders: &[Loader], geometries: &[Geometry], scenarios: &[Scenario]) -> Vec<Job> {
        let mut jobs = Vec::new();
        for loader in loaders.iter().copied() {
            let of = if geometries.is_empty() { Geometry::of(loader) } else { geometries.to_vec() };
            for geometry in of.into_iter().filter(|geometry| loader.takes(geometry.erased)) {
                let possible = |scenario: &Scenario| loader.goes_back() || *scenario != Scenario::Crash;
                let scenarios = scenarios.iter().copied().filter(possible);
                jobs.extend(scenarios.map(|scenario| Job { loader, geometry, scenario }));
            }
        }
        jobs
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What chooses, where not all is tried.
    pub seed: u64,
    /// Of the cuts within an operation, one in so many; and one in four times as many of flashes with large erase units, and
    /// where the bootloader copies whole slots. Those before and after each are tried always.
    pub share: NonZeroU64,
    /// So many second cuts for each first one; none stands for one of each kind at every operation.
    pub second: Option<u64>,
    /// A bug that the device has.
    #[cfg(feature = "seeded-bugs")]
    pub bug: Option<super::bugs::Bug>,
}

/// One or two cuts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// [`Geometry::name`].
    pub geometry: String,
    /// The bootloader.
    pub loader: Loader,
    /// What happens besides.
    pub scenario: Scenario,
    /// The first cut.
    pub first: Cut,
    /// The second, counted from where the power came back.
    pub second: Option<Cut>,
}

/// A case in which something happened that must not.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub case: Option<Case>,
    /// What.
    pub why: String,
}

/// How much of a job was tried.
#[derive(Clone, Debug)]
pub struct Count {
    /// The job.
    pub job: Job,
    /// Operations of a life without a cut.
    pub operations: usize,
    /// Cases with one cut, no two of them the same.
    pub once: usize,
    /// Cases with two.
    pub twice: usize,
}

/// Tries all of it, on as many threads as there are cores, and tells `done` of each job. Ends at the first failure.
///
/// # Errors
/// That failure.
///
/// # Panics
/// If a thread did.
pub fn sweep_all(jobs: &[Job], plan: &Plan, done: &(dyn Fn(&Count) + Sync)) -> Result<(), Failure> {
    let (next, failed, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let work = || {
        while !failed.load(Ordering::Relaxed)
            && let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let world = World::new(job.scenario, job.geometry.image);
            match (job.geometry.sweep)(*job, &world, plan) {
                Ok(count) => done(&count),
                Err(why) => {
                    failed.store(true, Ordering::Relaxed);
                    *failure.lock().expect("nobody panics with it") = Some(why);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(work);
        }
    });
    failure.into_inner().expect("nobody panics with it").map_or(Ok(()), Err)
}

/// Lets a server do all that a server may do to each file that a device fetches, one thing at a time. Gives how many
/// those are, no two of them the same.
///
/// # Errors
/// What happened that must not.
///
/// # Panics
/// If a thread did.
pub fn sweep_servers(scenario: Scenario, plan: &Plan) -> Result<usize, String> {
    let world = World::new(scenario, 700);
    let mut whole = device::<256, 4>(&world, Loader::Direct, 0xFF, plan)?;
    whole.live()?;
    let all = whole.fetches().iter().enumerate().flat_map(|(fetch, (path, length))| {
        ServerFault::all(*length).into_iter().map(move |fault| (fetch, path, fault))
    });
    let all: Vec<(usize, &String, ServerFault)> = all.collect();
    let try_each = |some: &[(usize, &String, ServerFault)]| -> Result<(), String> {
        let factory = device::<256, 4>(&world, Loader::Direct, 0xFF, plan)?;
        for (fetch, path, fault) in some {
            let mut device = factory.clone();
            device.meet(*fetch, *fault);
            // What turns out to be other bytes than were signed comes once more, all of it.
            let image = world.releases[1].image.len();
            let lived = device.live().and_then(|_| device.judge_end_and(2 * image));
            lived.map_err(|why| format!("{scenario}, {path}, fetch {fetch}, {fault:?}: {why}"))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(cores()));
        let threads: Vec<_> = shares.map(|some| scope.spawn(|| try_each(some))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread panicked"))
    })?;
    Ok(all.len())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Plays one case again.
///
/// # Errors
/// What goes wrong in it.
pub fn replay_case(case: &Case, plan: &Plan) -> Result<(), String> {
    let geometry = GEOMETRIES.iter().find(|geometry| geometry.name == case.geometry);
    let geometry = geometry.ok_or_else(|| format!("no geometry {}", case.geometry))?;
    (geometry.replay)(&World::new(case.scenario, geometry.image), case, plan)
}

fn sweep<const ERASE: usize, const WRITE: usize>(
    job: Job,
    world: &World,
    plan: &Plan,
) -> Result<Count, Failure> {
    let Job { loader, geometry, scenario } = job;
    let uncut =
        |why| Failure { case: None, why: format!("{} {loader} {scenario}, uncut: {why}", geometry.name) };
    let factory = device::<ERASE, WRITE>(world, loader, geometry.erased, plan).map_err(uncut)?;
    let mut whole = factory.clone();
    whole.live().and_then(|_| whole.judge_end(0)).map_err(uncut)?;
    let operations = whole.operations();
    let name = geometry.name.to_owned();
    let chance = |case: &Case| mix(plan.seed, case);
    // The agent reads all of its journals again and again, which takes long where their areas are large.
    let fewer = ERASE > 0x8000 || loader.swaps();
    let share = plan.share.get() * if fewer && plan.share.get() > 1 { 4 } else { 1 };
    let mut once = BTreeSet::new();
    let mut count = Count { job, operations: operations.len(), once: 0, twice: 0 };
    for first in Cut::all(operations).into_iter().filter(|cut| whole.survives(*cut)) {
        let mut case = Case { geometry: name.clone(), loader, scenario, first, second: None };
        let is_within = !matches!(first.tear, Tear::Before | Tear::After);
        if is_within && !chance(&case).is_multiple_of(share) {
            continue;
        }
        let failed = |case: &Case, why| Failure { case: Some(case.clone()), why };
        let cut = cut_once(&factory, first).map_err(|why| failed(&case, why))?;
        let mut recovered = cut.clone();
        recovered.live().and_then(|_| recovered.judge_end(1)).map_err(|why| failed(&case, why))?;
        assert!(once.insert(first), "{case} is tried twice");
        count.once += 1;
        for second in seconds(&recovered, plan, chance(&case)) {
            case.second = Some(second);
            let again =
                cut_once(&cut, second).and_then(|mut again| again.live().and_then(|_| again.judge_end(2)));
            again.map_err(|why| failed(&case, why))?;
            count.twice += 1;
        }
    }
    Ok(count)
}

fn replay<const ERASE: usize, const WRITE: usize>(
    erased: u8,
    world: &World,
    case: &Case,
    plan: &Plan,
) -> Result<(), String> {
    let factory = device::<ERASE, WRITE>(world, case.loader, erased, plan)?;
    let mut device = cut_once(&factory, case.first)?;
    if let Some(second) = case.second {
        device = cut_once(&device, second)?;
    }
    device.live()?;
    device.judge_end(1 + usize::from(case.second.is_some()))
}

fn device<'w, const ERASE: usize, const WRITE: usize>(
    world: &'w World,
    loader: Loader,
    erased: u8,
    plan: &Plan,
) -> Result<Device<'w, ERASE, WRITE>, String> {
    #[cfg(feature = "seeded-bugs")]
    return Device::new(world, loader, erased).map(|device| device.with_bug(plan.bug));
    #[cfg(not(feature = "seeded-bugs"))]
    {
        let Plan { .. } = plan;
        Device::new(world, loader, erased)
    }
}

/// The device after this cut, with its power back.
fn cut_once<'w, const ERASE: usize, const WRITE: usize>(
    before: &Device<'w, ERASE, WRITE>,
    cut: Cut,
) -> Result<Device<'w, ERASE, WRITE>, String> {
    let mut device = before.clone();
    device.disturb(noise(cut));
    device.plan(Some(cut));
    match device.live()? {
        Stop::Cut => {}
        Stop::Settled => return Err("the cut was never reached".to_owned()),
    }
    device.power_on()?;
    Ok(device)
}

/// Second cuts in what a device did, each once.
fn seconds<const ERASE: usize, const WRITE: usize>(
    device: &Device<'_, ERASE, WRITE>,
    plan: &Plan,
    chance: u64,
) -> BTreeSet<Cut> {
    let operations = device.operations();
    let kinds = |operation: usize, done: usize| -> Vec<Cut> {
        [Tear::Before, Tear::Within { done }, Tear::Unreadable { done }, Tear::Unstable { done }, Tear::After]
            .map(|tear| Cut { operation, tear })
            .into_iter()
            .filter(|cut| device.survives(*cut))
            .collect()
    };
    if operations.is_empty() {
        return BTreeSet::new();
    }
    let pick = |chance: u64, count: usize| usize::try_from(chance % count as u64).unwrap_or(0);
    match plan.second {
        None => {
            let all = operations.iter().enumerate();
            all.flat_map(|(number, operation)| kinds(number, pick(chance, operation.range().len()))).collect()
        }
        Some(count) => (0..count)
            .map(|number| {
                let chance = mix(chance, &number);
                let operation = pick(chance, operations.len());
                let kinds = kinds(operation, pick(mix(chance, &1), operations[operation].range().len()));
                kinds[pick(mix(chance, &2), kinds.len())]
            })
            .collect(),
    }
}

/// Which bits a cut leaves half-way.
fn noise(cut: Cut) -> u8 {
    mix(0, &cut).to_le_bytes()[0]
}

/// A number that follows from a seed and a thing, and looks like any (SplitMix64 over what is shown of it).
fn mix(seed: u64, of: &dyn fmt::Debug) -> u64 {
    format!("{of:?}").bytes().fold(seed, |state, byte| {
        let mut z = (state ^ u64::from(byte)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// As `--case` takes it: `4096/1/ff direct update 17:within:3 5:before`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.geometry, self.loader, self.scenario)?;
        for Cut { operation, tear } in [Some(self.first), self.second].into_iter().flatten() {
            match tear {
                Tear::Before => write!(f, " {operation}:before")?,
                Tear::Within { done } => write!(f, " {operation}:within:{done}")?,
                Tear::Unreadable { done } => write!(f, " {operation}:unreadable:{done}")?,
                Tear::Unstable { done } => write!(f, " {operation}:unstable:{done}")?,
                Tear::After => write!(f, " {operation}:after")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let wrong = || format!("`{text}` is no case; one is `4096/1/ff direct update 17:within:3 5:before`");
        let mut words = text.split(' ');
        let geometry = words.next().unwrap_or_default().to_owned();
        let loader = words.next().unwrap_or_default().parse()?;
        let scenario = words.next().unwrap_or_default();
        let scenario = Scenario::ALL.into_iter().find(|known| known.to_string() == scenario);
        let cut = |word: &str| {
            let parts: Vec<&str> = word.split(':').collect();
            let (operation, tear) = (parts.first()?.parse().ok()?, &parts[1..]);
            let done = |text: &str| text.parse::<usize>().ok();
            let tear = match tear {
                ["before"] => Tear::Before,
                ["within", bytes] => Tear::Within { done: done(bytes)? },
                ["unreadable", bytes] => Tear::Unreadable { done: done(bytes)? },
                ["unstable", bytes] => Tear::Unstable { done: done(bytes)? },
                ["after"] => Tear::After,
                _ => return None,
            };
            Some(Cut { operation, tear })
        };
        let cuts: Option<Vec<Cut>> = words.map(cut).collect();
        match (scenario, cuts.as_deref()) {
            (Some(scenario), Some([first])) => {
                Ok(Case { geometry, loader, scenario, first: *first, second: None })
            }
            (Some(scenario), Some([first, second])) => {
                Ok(Case { geometry, loader, scenario, first: *first, second: Some(*second) })
            }
            _ => Err(wrong()),
        }
    }
}

#[test]
fn case_reads_back_as_it_is_shown() {
    for text in [
        "256/1/ff direct update 3:before",
        "4096/1/ff mcuboot-offset crash 17:within:3 5:unreadable:0",
        "512/2/ff embassy unfit 1:after 2:after",
    ] {
        assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "256/1/ff",
        "256/1/ff direct",
        "256/1/ff direct update",
        "256/1/ff update 3:before",
        "256/1/ff direct nothing 3:before",
        "256/1/ff direct update 3:within",
        "256/1/ff direct update x:after",
    ] {
        text.parse::<Case>().unwrap_err();
    }
}
