//! Nothing is left of readings that were refused or that broke off, in any state of a cycle: the honest files
//! lead where they lead a machine that never saw a bad byte.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;
use tuffet_client::{Candidate, Device, Entry, Error, Floors, Goal, Plan, Refresh, Want};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// What a cycle comes to.
#[derive(PartialEq, Debug)]
struct Outcome {
    end: Result<End, Error>,
    requests: Vec<String>,
    candidate: Option<Candidate>,
    floors: Floors,
}

/// Bytes that come in the place of a file.
#[derive(Clone, Copy)]
struct Bad<'b> {
    bytes: &'b [u8],
    /// Nothing more comes: the transport says that the file is missing, not that it has ended.
    broken_off: bool,
}

/// Bad bytes in the place of a file that was asked for. On another device they are no other case.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    repository: &'static str,
    request: String,
    sha256: [u8; 32],
}

// ---- the sweeps

#[test]
fn refused_readings_leave_nothing_behind() {
    let repositories = repositories();
    let foreign: BTreeSet<Vec<u8>> =
        repositories.iter().flat_map(|(_, repository)| repository.files().into_values()).collect();
    let ways: [fn(&[u8]) -> Bad<'_>; 3] = [whole, short, broken_off];
    let mut cases = BTreeSet::new();
    for (name, repository) in &repositories {
        let files = repository.files();
        for subject in subjects(repository) {
            let honest = honest(&subject, &files);
            for way in ways {
                let in_place_of = |file: &str| {
                    let others = foreign.iter().filter(|foreign| files.get(file) != Some(foreign));
                    others.map(|foreign| way(foreign)).collect()
                };
                assert_eq!(spoiled(&subject, name, &files, in_place_of, &mut cases), honest, "{name}");
            }
        }
    }
    assert!(cases.len() > 6_400, "{}", cases.len());
}

#[test]
fn refused_mutants_leave_nothing_behind() {
    let mut cases = BTreeSet::new();
    for (name, repository) in repositories() {
        let files = repository.files();
        let mutants = files.iter().map(|(file, bytes)| (file.as_str(), forgeries(bytes)));
        let mutants: BTreeMap<_, _> = mutants.collect();
        for subject in subjects(&repository) {
            let in_place_of = |file: &str| {
                let mutants = mutants.get(file).into_iter().flatten().enumerate();
                let way = |index| if index % 5 == 0 { broken_off } else { whole };
                mutants.map(|(index, mutant)| way(index)(mutant)).collect()
            };
            let spoiled = spoiled(&subject, name, &files, in_place_of, &mut cases);
            assert_eq!(spoiled, honest(&subject, &files), "{name}");
        }
    }
    assert!(cases.len() > 5_000, "{}", cases.len());
}

// ---- how a reading comes to nothing

fn whole(bytes: &[u8]) -> Bad<'_> {
    Bad { bytes, broken_off: false }
}

/// All but the last byte, which closes the file.
fn short(bytes: &[u8]) -> Bad<'_> {
    Bad { bytes: &bytes[..bytes.len() - 1], broken_off: false }
}

/// So much that most of what is signed was read.
fn broken_off(bytes: &[u8]) -> Bad<'_> {
    Bad { bytes: &bytes[..bytes.len() * 9 / 10], broken_off: true }
}

/// The machine refuses these bytes, trusts what it trusted, and wants the same file.
#[track_caller]
fn refuse(refresh: &mut Refresh<'_>, bad: Bad<'_>) {
    let (request, floors) = (request(refresh), refresh.trusted().floors().clone());
    // That the next root is missing is no error: it ends too soon instead.
    let missing = bad.broken_off && !request.as_ref().is_some_and(|request| request.ends_with("root.json"));
    let fed = refresh.feed(bad.bytes);
    let fed = fed.and_then(|()| if missing { refresh.missing() } else { refresh.end().map(drop) });
    assert!(fed.is_err(), "{request:?} {}", String::from_utf8_lossy(bad.bytes));
    assert_eq!(*refresh.trusted().floors(), floors);
    assert_eq!(self::request(refresh), request);
}

// ---- cycles

/// The device as it comes from the factory; after a cycle, before and after it runs release 2; and after
/// another, when there may be nothing left to do. Each at both entries.
fn subjects(repository: &Repository) -> Vec<Subject> {
    let mut all = Vec::new();
    for entry in [Entry::Refresh, Entry::Poll] {
        for (cycles, sequence) in [(&[][..], 0), (&[0], 0), (&[0], 2), (&[0, 2], 2)] {
            let mut subject = Subject::new(repository);
            for running in cycles {
                subject.sequence = *running;
                subject.refresh(repository).result.unwrap();
            }
            all.push(Subject { entry, sequence, ..subject });
        }
    }
    all
}

fn plan_of<'p>(subject: &Subject) -> Plan<'p> {
    let goal = Goal::Release(Device { sequence: subject.sequence, ..DEVICE_1 });
    Plan { goal, entry: subject.entry, ..plan() }
}

/// The cycle without a bad byte.
fn honest(subject: &Subject, files: &Files) -> Outcome {
    let (mut trusted, mut memory) = (subject.trusted(), [0; DEVICE.memory()]);
    let mut refresh = Refresh::new(plan_of(subject), &mut trusted, &mut memory).unwrap();
    outcome(&mut refresh, files, Vec::new())
}

/// The cycle in which before each honest file come all that are bad in its place.
#[track_caller]
fn spoiled<'b>(
    subject: &Subject,
    repository: &'static str,
    files: &Files,
    in_place_of: impl Fn(&str) -> Vec<Bad<'b>>,
    cases: &mut BTreeSet<Case>,
) -> Outcome {
    let (mut trusted, mut memory) = (subject.trusted(), [0; DEVICE.memory()]);
    let mut refresh = Refresh::new(plan_of(subject), &mut trusted, &mut memory).unwrap();
    let mut requests = Vec::new();
    while let Some(request) = request(&refresh) {
        let file = request.trim_start_matches("again ");
        // A poll refuses no timestamp: it is the known one, byte for byte, or the root is asked for.
        let polls = subject.entry == Entry::Poll && requests.is_empty();
        for bad in in_place_of(file).into_iter().filter(|bad| bad.broken_off || !polls) {
            refuse(&mut refresh, bad);
            cases.insert(Case { repository, request: request.clone(), sha256: digest(bad.bytes) });
        }
        if !files.contains_key(file) {
            // Of the root that is not there half may have come before it was said to be missing.
            let root = &files["1.root.json"];
            refresh.feed(&root[..root.len() / 2]).unwrap();
        }
        requests.push(request);
        step(&mut refresh, files).unwrap();
        while matches!(refresh.want(), Want::Persist(_)) {
            step(&mut refresh, files).unwrap();
        }
    }
    outcome(&mut refresh, files, requests)
}

/// What the machine asks for, as the simulator writes it down; `None` at the end of its cycle.
fn request(refresh: &Refresh<'_>) -> Option<String> {
    match refresh.want() {
        Want::Fetch { file, .. } => Some(file.to_string()),
        Want::Again { file, .. } => Some(format!("again {file}")),
        _ => None,
    }
}

/// Drives the cycle to its end, if it is not there yet.
fn outcome(refresh: &mut Refresh<'_>, files: &Files, mut requests: Vec<String>) -> Outcome {
    let end = drive(refresh, files, 512, &mut requests, |_, _| true);
    let candidate = match refresh.want() {
        Want::Install(candidate) => Some(candidate.clone()),
        _ => None,
    };
    Outcome { end, requests, candidate, floors: refresh.trusted().floors().clone() }
}

// ---- mutants

/// The mutants of a file that must be refused.
fn forgeries(file: &[u8]) -> Vec<Vec<u8>> {
    let honest: Value = serde_json::from_slice(file).unwrap();
    let mut mutants = mutants(&honest);
    if honest["signed"]["_type"] == "timestamp" {
        // No digest of it is stated, and its signature is over `signed` alone.
        mutants.retain(|mutant| mutant["signed"] != honest["signed"]);
    }
    mutants.iter().map(|mutant| mutant.to_string().into_bytes()).collect()
}

/// The value with one thing in it changed, in each place and each way.
fn mutants(value: &Value) -> Vec<Value> {
    let mut all = instead_of(value);
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                all.extend(mutants(member).into_iter().map(|mutant| with(value, key, mutant)));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all.extend(mutants(item).into_iter().map(|mutant| {
                    let mut items = items.clone();
                    items[index] = mutant;
                    json!(items)
                }));
            }
        }
        _ => {}
    }
    all.retain(|mutant| mutant != value);
    all
}

/// What can stand in the place of a value for a reader to go on, and for its facts to be others.
fn instead_of(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Number(number) => vec![json!(number.as_u64().unwrap() + 1), json!(1), json!(0)],
        Value::String(text) => {
            let mut other = text.clone();
            let last = other.pop();
            other.push(if last == Some('0') { '1' } else { '0' });
            vec![json!(other), json!("00".repeat(32))]
        }
        Value::Array(items) => {
            let reversed: Vec<_> = items.iter().rev().collect();
            vec![json!([]), json!(reversed), json!(items[..items.len().saturating_sub(1)])]
        }
        Value::Object(members) => {
            let less = members.keys().map(|key| {
                let mut less = members.clone();
                less.remove(key);
                json!(less)
            });
            less.chain(with_more(value)).collect()
        }
    }
}

/// The object with members that leave something behind where they belong: a rollout, roles, a halt.
fn with_more(object: &Value) -> [Value; 3] {
    let (start, end) = (date(NOW), date(NOW + 375 * DAY));
    let rollout = json!({ "end": end, "salt": "00".repeat(16), "start": start });
    let meta = json!({ "hashes": { "sha256": "00".repeat(32) }, "length": 7, "version": 9 });
    let roles = ["a", "b", "c", "lamp", "zz"];
    [
        with(object, "rollout", rollout),
        roles
            .iter()
            .fold(object.clone(), |object, role| with(&object, &format!("{role}.json"), meta.clone())),
        with(object, "halt", json!(["11".repeat(32)])),
    ]
}

fn with(object: &Value, key: &str, member: Value) -> Value {
    let mut object = object.clone();
    object[key] = member;
    object
}

// ---- repositories

/// Repositories in which cycles go other ways, by name. None takes a top-level file of another.
fn repositories() -> Vec<(&'static str, Repository)> {
    let all = [
        ("flat", Repository::default()),
        ("lamp", lamp()),
        ("deep", deep()),
        ("crowd", crowd()),
        ("bins", bins()),
        ("ramp", ramp_up(100_000)),
        ("ramped", ramp_up(0)),
        ("before", before()),
    ];
    let all = all.into_iter().enumerate();
    all.map(|(index, (name, repository))| (name, with_own_keys(index, repository))).collect()
}

/// Three delegated roles are searched for the release entry in vain, then a fourth has it, and the image.
fn deep() -> Repository {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "b"), ("a", "c"), ("targets", "lamp")] {
        repository.delegate(from, name, &[name], &json!({ "paths": LAMP }));
    }
    repository.delegation("targets", 0)["paths"] = json!([LAMP[0]]);
    repository.move_to("lamp");
    repository
}

/// So many keys that targets are read again for those of the role.
fn crowd() -> Repository {
    let mut repository = lamp();
    let keys = &mut repository.delegations.get_mut("targets").unwrap()["keys"];
    (0..12).for_each(|at| keys[format!("{at:064x}")] = Signer::new(&format!("spare-{at}")).key());
    repository
}

/// Release entry and image are in bins of their own.
fn bins() -> Repository {
    let mut repository = Repository::default();
    repository.delegate_to_bins(3, "bin", "bin");
    repository.sort_into_bins(3, "bin");
    repository
}

/// Release 3 is on a ramp of so many days.
fn ramp_up(days: u64) -> Repository {
    let mut repository = Repository::default();
    repository.release(3, "1.2.0").rollout = Some(ramp(0, days));
    repository
}

/// The image stands before the release entry, so that it is found by another reading.
fn before() -> Repository {
    const PATH: &str = "lamp/rev-a/a.bin";
    let mut repository = lamp();
    repository.delegation("targets", 0)["paths"] = json!([LAMP[0], PATH]);
    repository.candidates[0].image.path = PATH.try_into().unwrap();
    let role = repository.delegated.get_mut("lamp").unwrap();
    role.targets.insert(PATH.to_owned(), target(&image("1.1.0")));
    repository
}

/// The repository with top-level keys that sign for no other.
fn with_own_keys(index: usize, mut repository: Repository) -> Repository {
    let named = |name: &str| format!("{name}-{index}");
    let signers = |names: &[String]| names.iter().map(|name| Signer::new(name)).collect::<Vec<_>>();
    let (roots, targets) = (ROOT_KEYS.map(named), TARGETS_KEYS.map(named));
    let online @ [timestamp, snapshot] = &["timestamp", "snapshot"].map(named);
    let [root_names, targets_names] = [&roots, &targets].map(|names| names.each_ref().map(String::as_str));
    let first = root(1, &root_names, &targets_names, online.each_ref().map(String::as_str));
    repository.roots = vec![(first, signers(&roots[..2]))];
    repository.signers = BTreeMap::from([
        ("timestamp", vec![Signer::new(timestamp)]),
        ("snapshot", vec![Signer::new(snapshot)]),
        ("targets", signers(&targets[1..])),
    ]);
    repository
}
