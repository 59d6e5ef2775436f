//! Bundles of repositories with any roles: what the tool wrote down a device reads, in that order.

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tuffet::bundle::{self, Order, Report};
use tuffet::release::Channel;
use tuffet::repository::target_name;
use tuffet::source::{Fetched, Source};
use tuffet::{Error, Rejected};
use tuffet_agent::Request;
use tuffet_agent::agent::{Agent, Checked};
use tuffet_agent::bundle::{Line, Stream};
use tuffet_agent::engine::Input;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::{
    self as agent, Bundle, Factory, FactoryImage, Flash, FlashMap, Transport, TransportFault, provision,
};
use tuffet_client::release::{Entry, Hex};
use tuffet_client::{Ban, Clock, Entry as ByEntry, Role, SOFTWARE};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// The simulated repository with its targets' files.
struct Mirror(Files);

impl Mirror {
    fn of(repository: &Repository) -> Mirror {
        let mut files = repository.files();
        for candidate in &repository.candidates {
            let name = target_name(&candidate.image.path, &Hex(&candidate.image.sha256).to_string());
            files.insert(name, image(&candidate.version));
        }
        let entry = Entry(&repository.candidates).to_string().into_bytes();
        files.insert(target_name(RELEASE, &sha256(&entry)), entry);
        Mirror(files)
    }
}

impl Source for Mirror {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        match self.0.get(name) {
            None => Ok(Fetched::Missing),
            Some(bytes) if bytes.len() > limit as usize => Ok(Fetched::TooLong),
            Some(bytes) => {
                sink(bytes);
                Ok(Fetched::Whole)
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        name.into()
    }
}

fn order() -> Order {
    let [product, hardware, channel] = ["lamp", "rev-a", "stable"].map(str::to_owned);
    Order { channel: Channel { product, hardware, name: channel }, version: None, from_root: None }
}

/// A directory for bundles and the flashes of devices.
struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("bundle")
    }

    fn write(&self, repository: &Repository, order: &Order) -> Result<Report, Error> {
        let mut mirror = Mirror::of(repository);
        let root = mirror.0["1.root.json"].clone();
        bundle::write(&mut mirror, &root, order, &self.path(), NOW)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    /// A device from the factory takes what comes by this way.
    fn apply(&self, root: &[u8], transport: impl Transport) -> Result<Checked, agent::Error> {
        let (product, hardware, channel) = ("lamp", "rev-a", "stable");
        let factory = Factory { root, product, hardware, channel, counter: 0, built: NOW - 9 * DAY };
        let path = self.0.path().join("device.nor");
        let _ = std::fs::remove_file(&path);
        let mut flash = Flash::new(FileFlash::create(&path).unwrap(), FlashMap::DEMO).unwrap();
        let image = FactoryImage { bytes: &[0x42; 100], sequence: 0, version: "0.9.0" };
        provision(&mut flash, &SOFTWARE, &factory, &image).unwrap();
        let mut agent = Agent::new(flash, transport, &SOFTWARE, factory, b"device-1").unwrap();
        // By then every timestamp and snapshot has expired.
        agent.check(&mut || Clock::At(NOW + 30 * DAY), &mut |_| ())
    }
}

/// A line that goes one way.
struct OneWay<'b>(&'b [u8]);

impl Line for OneWay<'_> {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportFault> {
        let (now, later) = self.0.split_at(self.0.len().min(buffer.len()).min(20));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

fn nested() -> Repository {
    let mut repository = Repository::default();
    repository.delegate("targets", "a/b", &["first"], &json!({ "paths": ["lamp/*/*/*", "lamp/*/*/*/*"] }));
    repository.delegate("targets", "nobody", &["second"], &json!({ "paths": ["*/*"] }));
    repository.delegate("a/b", "lamp", &["lamp-a", "lamp-b"], &json!({ "paths": LAMP }));
    repository.move_to("lamp");
    repository
}

fn bins(bits: u32) -> Repository {
    let mut repository = Repository::default();
    repository.delegate_to_bins(bits, "bin", "bins");
    repository.sort_into_bins(bits, "bin");
    repository
}

#[test]
fn bundle_has_what_an_offline_cycle_asks_for_whichever_roles_there_are() {
    let bench = Bench::new();
    let shapes = [
        ("targets alone", Repository::default(), true),
        ("a product role", lamp(), false),
        ("a role below a role", nested(), false),
        ("bins", bins(4), false),
        ("many bins", bins(9), false),
    ];
    for (name, repository, streams) in shapes {
        let report = bench.write(&repository, &order()).unwrap();
        let (bytes, files) = (bench.bytes(), repository.files());
        let mut bundle = Bundle::open(&bytes[..]).unwrap();
        let mut carried = Files::new();
        let mut listed = Vec::new();
        bundle
            .list(&mut |_, name| {
                listed.push(name.to_owned());
                Ok(())
            })
            .unwrap();
        for file in &listed {
            let mut content = Vec::new();
            let sink = &mut |input: Input<'_>| {
                content.extend_from_slice(input.bytes());
                Ok(())
            };
            bundle.fetch(&Request::whole(file, u32::MAX).unwrap(), sink).unwrap();
            carried.insert(file.clone(), content);
        }
        let image = listed.pop().unwrap();
        assert!(image.starts_with("targets/lamp/rev-a/versions/1.1.0/"), "{name}: {image}");
        assert_eq!(carried[&image], tuffet_tests::simulator::image("1.1.0"), "{name}");

        let mut subject = Subject { entry: ByEntry::Offline, ..Subject::new(&repository) };
        let cycle = subject.refresh_from(&carried);
        assert_eq!(cycle.result, Ok(Some(2)), "{name}");
        let mut asked = cycle.requests;
        asked.retain(|file| !file.starts_with("again ") && files.contains_key(file));
        assert_eq!(listed, asked, "{name}");
        assert_eq!(report.good_until, (Role::Targets, NOW + 90 * DAY), "{name}");

        let root = &files["1.root.json"];
        let checked = bench.apply(root, Bundle::open(&bytes[..]).unwrap());
        assert!(
            matches!(&checked, Ok(Checked::Pending(image)) if image.sequence == 2),
            "{name}: {checked:?}"
        );
        // What is read again has passed on a line; with targets alone nothing is.
        let checked = bench.apply(root, Bundle::open(Stream::<_, 1024>::new(OneWay(&bytes))).unwrap());
        match checked {
            Ok(Checked::Pending(_)) => assert!(streams, "{name}"),
            Err(agent::Error::Environment(agent::Environment::Transport(TransportFault::Passed {
                ..
            }))) => {
                assert!(!streams, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        // The tool sees in it what devices do.
        let mut source = bundle::BundleFile::open(&bench.path()).unwrap();
        let report = bundle::replay(&mut source, root, NOW + 30 * DAY).unwrap();
        let releases: Vec<(String, u32)> =
            report.releases.iter().map(|release| (release.channel.to_string(), release.sequence)).collect();
        assert_eq!(releases, [("lamp/rev-a/stable".to_owned(), 2)], "{name}");
        let hashed = tuffet::verify::hash_targets(&mut source, &report.targets, &mut |_| ());
        assert_eq!(hashed, Ok(5_000), "{name}");
    }
}

#[test]
fn bundle_of_a_delegated_role_that_expired_is_not_taken() {
    let expires = NOW + 20 * DAY;
    let repository = lamp().signed_by("lamp", move |signed| signed["expires"] = json!(date(expires)));
    let bench = Bench::new();
    let report = bench.write(&repository, &order()).unwrap();
    assert_eq!(report.good_until, (Role::Targets, expires));
    let bytes = bench.bytes();
    let checked = bench.apply(&repository.files()["1.root.json"], Bundle::open(&bytes[..]).unwrap());
    let Err(agent::Error::Rejected(agent::Rejected::Metadata(refused))) = checked else {
        panic!("{checked:?}")
    };
    assert!(matches!(refused, tuffet_client::Rejected::Freeze { role: Role::Delegated, .. }), "{refused}");
}

#[test]
fn release_that_no_device_installs_gets_no_bundle() {
    let bench = Bench::new();
    let halt = json!([sha256(&image("1.1.0"))]);
    let halted = Repository::default().signed(Role::Timestamp, move |signed| signed["halt"] = halt.clone());
    let refused = bench.write(&halted, &order());
    assert!(matches!(refused, Err(Error::Rejected(Rejected::NotInstalled { .. }))), "{refused:?}");
    // The one before it is not halted; devices that must not have the newest take it.
    let older = Order { version: Some("1.0.0".to_owned()), ..order() };
    bench.write(&Repository::default(), &older).unwrap();
    let root = &Repository::default().files()["1.root.json"];
    let bytes = bench.bytes();
    let mut newest_failed = Subject { entry: ByEntry::Offline, ..Subject::new(&Repository::default()) };
    newest_failed.banned = vec![Ban { sha256: digest(&image("1.1.0")), sequence: u32::MAX }];
    assert_eq!(newest_failed.refresh(&Repository::default()).result, Ok(Some(1)));
    let checked = bench.apply(root, Bundle::open(&bytes[..]).unwrap());
    assert_eq!(checked, Err(TransportFault::NotFound.into()), "it may have the newest");
    // Candidates are read from the file of the entry, which every repository has.
    let mut mirror = Mirror::of(&Repository::default());
    mirror.0.retain(|name, _| !name.ends_with(".release"));
    let refused = bundle::write(&mut mirror, root, &order(), Path::new("nowhere"), NOW);
    assert!(matches!(refused, Err(Error::Rejected(Rejected::TargetMissing { .. }))), "{refused:?}");
}

#[test]
fn bundle_of_more_roots_than_a_cycle_walks_must_begin_later() {
    let mut repository = Repository::default();
    for version in 2..=66 {
        repository
            .rotate(root(version, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS[..2]);
    }
    let bench = Bench::new();
    let refused = bench.write(&repository, &order());
    assert_eq!(refused, Err(Rejected::BundleTooLarge { what: "64 roots" }.into()));
    assert!(!bench.path().exists());
    let report = bench.write(&repository, &Order { from_root: Some(2), ..order() }).unwrap();
    assert_eq!((report.from_root, report.files.len()), (2, 64 + 4));
    let (bytes, files) = (bench.bytes(), repository.files());
    let checked = bench.apply(&files["2.root.json"], Bundle::open(&bytes[..]).unwrap());
    assert!(matches!(checked, Ok(Checked::Pending(_))), "{checked:?}");
    let checked = bench.apply(&files["1.root.json"], Bundle::open(&bytes[..]).unwrap());
    assert_eq!(checked, Err(agent::Rejected::BundleLacksRoot { version: 2 }.into()));
}
