//! Any repository in any chunks, and any bytes at all.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;
use tuffet_client::limits::DEVICE;
use tuffet_client::{Ended, Error, Floors, Refresh, Role, Want};
use tuffet_tests::expect::*;
use tuffet_tests::fuzz;
use tuffet_tests::simulator::*;

/// One of a small family of repositories.
#[derive(Clone, Debug)]
struct Family {
    /// Delegations between targets and the role of the release.
    levels: usize,
    /// Or bins of so many bits.
    bins: Option<u32>,
    /// Roles that are searched before, and have nothing.
    siblings: usize,
    /// Releases after the first two.
    releases: u32,
    rollout: bool,
    halted: bool,
    /// The image sorts before its release entry.
    early: bool,
    /// Other targets beside.
    others: usize,
    fault: Fault,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Nothing,
    Unsigned(Role),
    Expired(Role),
    /// A byte of this file, counted by name, at this place, is another.
    Byte(prop::sample::Index, prop::sample::Index, u8),
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Timestamp, Role::Snapshot, Role::Targets])
}

fn family() -> impl Strategy<Value = Family> {
    let fault = prop_oneof![
        4 => Just(Fault::Nothing),
        1 => role().prop_map(Fault::Unsigned),
        1 => role().prop_map(Fault::Expired),
        4 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..)
            .prop_map(|(file, at, bits)| Fault::Byte(file, at, bits)),
    ];
    let bins = prop::option::weighted(0.3, 1_u32..=4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (0_usize..=5, bins, 0_usize..3, 0_u32..3, flags, 0_usize..20, fault).prop_map(
        |(levels, bins, siblings, releases, (rollout, halted, early), others, fault)| Family {
            levels,
            bins,
            siblings,
            releases,
            rollout,
            halted,
            early,
            others,
            fault,
        },
    )
}

impl Family {
    fn files(&self) -> Files {
        let mut repository = Repository::default();
        for release in 0..self.releases {
            repository.release(3 + release, &format!("1.{release}.9"));
        }
        if self.rollout {
            repository.candidates[0].rollout = Some(ramp(0, 2));
        }
        if self.early {
            repository.targets.insert("lamp/rev-a/a.bin".to_owned(), target(b"early"));
            let image = &mut repository.candidates[0].image;
            image.path = "lamp/rev-a/a.bin".try_into().unwrap();
            (image.length, image.sha256) = (5, digest(b"early"));
        }
        for other in 0..self.others {
            let bytes = other.to_le_bytes();
            repository.targets.insert(format!("fan/rev-a/{other}.bin"), target(&bytes));
        }
        let patterns = json!({ "paths": [LAMP[0], LAMP[1], "lamp/rev-a/*", "fan/*/*"] });
        if let Some(bits) = self.bins {
            repository.delegate_to_bins(bits, "bin", "bins");
            repository.sort_into_bins(bits, "bin");
        } else {
            let mut above = "targets".to_owned();
            for level in 0..self.levels {
                for sibling in 0..self.siblings {
                    repository.delegate(&above, &format!("none-{level}-{sibling}"), &["none"], &patterns);
                }
                let name = format!("level-{level}");
                repository.delegate(&above, &name, &["level"], &patterns);
                above = name;
            }
            if self.levels > 0 {
                repository.move_to(&above);
            }
        }
        if self.halted {
            let halt = json!([sha256(&image("1.1.0"))]);
            repository = repository.signed(Role::Timestamp, move |signed| signed["halt"] = halt.clone());
        }
        match self.fault {
            Fault::Nothing => repository.files(),
            Fault::Unsigned(role) => {
                repository.envelope(role, |envelope| envelope["signatures"] = json!([])).files()
            }
            Fault::Expired(role) => {
                repository.expires.insert(role.name(), NOW);
                repository.files()
            }
            Fault::Byte(file, at, bits) => {
                let mut files = repository.files();
                files.remove("1.root.json");
                let file = file.index(files.len());
                let bytes = files.values_mut().nth(file).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
                files
            }
        }
    }
}

/// What a factory-new device comes to that is fed in these chunks, over and over.
fn outcome(files: &Files, sizes: &[usize]) -> (Result<String, Error>, Vec<String>, Floors) {
    let mut trusted = Subject::new(&Repository::default()).trusted();
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    let mut sizes = sizes.iter().copied().cycle();
    let mut requests = Vec::new();
    let end = loop {
        let name = match refresh.want() {
            Want::Fetch { file, .. } => file.to_string(),
            Want::Again { file, .. } => format!("again {file}"),
            Want::Persist(_) => {
                refresh.persisted();
                continue;
            }
            Want::Over(why) => break Err(why.into()),
            want => break Ok(format!("{want:?}")),
        };
        let fed = match files.get(name.trim_start_matches("again ")) {
            Some(bytes) => {
                let mut rest = bytes.as_slice();
                let mut fed = Ok(());
                while !rest.is_empty() && fed.is_ok() {
                    let (chunk, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                    rest = behind;
                    fed = refresh.feed(chunk);
                }
                fed.and_then(|()| refresh.end().map(drop))
            }
            None => refresh.missing(),
        };
        requests.push(name);
        if let Err(error) = fed {
            break Err(error);
        }
    };
    (end, requests, trusted.floors().clone())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

/// One of the committed seeds.
fn seed(seeds: Files) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(seeds.into_values().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn any_repository_in_any_chunks_comes_to_the_same_end(
        family in family(),
        sizes in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..80, 80_usize..4000], 1..20),
    ) {
        let files = family.files();
        let whole = outcome(&files, &[usize::MAX]);
        prop_assert_eq!(&outcome(&files, &sizes), &whole);
        prop_assert_eq!(&outcome(&files, &[1]), &whole);
        if let Fault::Nothing = family.fault {
            // Five delegations are one too many, and so are more than eight roles.
            let depth = if family.bins.is_some() { 0 } else { family.levels };
            let roles = if family.bins.is_some() { 0 } else { family.levels * (family.siblings + 1) };
            prop_assert_eq!(whole.0.is_ok(), depth < 5 && roles <= 8, "{:?}", whole);
        }
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn any_bytes_in_the_place_of_a_file_are_refused_without_a_trace(
        seed in seed(fuzz::role_file_seeds()),
        chunk in any::<u8>(),
        capital in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..4),
    ) {
        let mut data = seed;
        if capital {
            data[0].make_ascii_uppercase();
        }
        data[1] = chunk;
        for (at, kind, byte) in edits {
            let at = 2 + at.index(data.len() - 2);
            match kind {
                0 => data[at] = byte,
                1 => data.insert(at, byte),
                2 => drop(data.remove(at)),
                _ => data[at] = b"\"{}[],:0"[usize::from(byte % 8)],
            }
        }
        fuzz::one_role_file(&data);
    }

    #[test]
    fn any_changes_to_a_repository_end_without_a_trace(
        seed in seed(fuzz::refresh_seeds()),
        how in any::<u8>(),
        chunk in any::<u8>(),
        fuel in prop_oneof![Just(255_u8), 0_u8..20],
        changes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut data = seed;
        (data[0], data[1], data[2]) = (data[0] ^ how, chunk, fuel);
        data.extend(changes);
        fuzz::whole_refresh(&data);
    }
}

#[test]
fn any_bytes_of_no_form_are_refused_without_a_trace() {
    for data in [&b""[..], b"r", b"rx", b"t0", b"t0{", b"\0\0\0", b"g0{}", b"d\0{\"signed\":{}}"] {
        fuzz::one_role_file(data);
        fuzz::whole_refresh(data);
    }
}

#[test]
fn seeds_of_the_corpus_are_what_the_simulator_makes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/corpus");
    for (target, seeds) in
        [("one_role_file", fuzz::role_file_seeds()), ("whole_refresh", fuzz::refresh_seeds())]
    {
        let directory = directory.join(target);
        // To write them once more: `TUFFET_WRITE_CORPUS=1 cargo test -p tuffet-tests --test chunks seeds`.
        if std::env::var_os("TUFFET_WRITE_CORPUS").is_some() {
            fs::create_dir_all(&directory).unwrap();
            seeds.iter().for_each(|(name, seed)| fs::write(directory.join(name), seed).unwrap());
        }
        let entries = fs::read_dir(&directory).unwrap();
        let committed: Files = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
            .collect();
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&seeds), "{target}");
        for (name, seed) in &seeds {
            assert_eq!(&committed[name], seed, "{target}/{name} differs");
            match target {
                "one_role_file" => {
                    assert_eq!(fuzz::role_file_ended(seed), Some(Ok(Ended::Trusted)), "{name}");
                }
                _ => fuzz::whole_refresh(seed),
            }
        }
    }
}
