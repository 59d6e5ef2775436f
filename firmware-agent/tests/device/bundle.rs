//! Updates that come in one file, and what becomes of a file that is not as it was written.

use core::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use tuffet_agent::boot::{self, BootRecord};
use tuffet_agent::bundle::{Entry, INDEX_MAX, IndexFault, Line, Medium, Stream};
use tuffet_agent::engine::Input;
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::{
    Agent, Bundle, Checked, Environment, Error, Factory, FactoryImage, Flash, Rejected, Request, SlotId,
    Started, Transport, TransportFault, provision,
};
use tuffet_client::time::Date;
use tuffet_client::{Clock, Rejected as Refused, Role, SOFTWARE};

use crate::nor::{Cut, Nor, Tear};
use crate::repository::{DAY, Files, NOW, Release, Repository};

type TestNor = Nor<256, 4>;

/// The files of a bundle, by name and in order.
type Contents = Vec<(String, Vec<u8>)>;

const SLOT: usize = 0x1000;

// ---- a device that has nothing but bundles

#[test]
fn bundle_is_installed_tried_and_confirmed_and_then_there_is_nothing_to_do() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    let mut nor = factory_new(&root);
    let image = pending(check(&mut nor, &root, &bytes[..], NOW));
    assert_eq!((image.slot, image.sequence, image.version.as_str()), (SlotId::B, 7, "1.0.0"));
    let mut agent = agent(&mut nor, &root, Bundle::open(&bytes[..]).unwrap());
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::Pending(image.clone())), "asked again");
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
    assert_eq!(agent.trust().trusted.root().version(), 3);
    assert_eq!(agent.trust().memory.counter, 3);
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate), "settled");
}

#[test]
fn bundle_may_have_an_expired_timestamp_and_snapshot_and_nothing_else() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    // The timestamp is good for a day, the snapshot for ten, targets for a hundred and roots for a thousand.
    for day in [0, 2, 20, 99] {
        let image = pending(check(&mut factory_new(&root), &root, &bytes[..], NOW + day * DAY));
        assert_eq!(image.sequence, 7, "after {day} days");
    }
    for (day, role, expires) in [(100, Role::Targets, 100), (1000, Role::Root, 1000)] {
        let mut nor = factory_new(&root);
        let freeze =
            Refused::Freeze { role, expires: Date(NOW + expires * DAY), start: Date(NOW + day * DAY) };
        let checked = check(&mut nor, &root, &bytes[..], NOW + day * DAY);
        assert_eq!(checked, Err(Rejected::Metadata(freeze).into()), "after {day} days");
        assert_nothing_installed(&mut nor, &root);
    }
}

#[test]
fn bundle_that_expires_while_it_is_read_is_not_installed() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    let mut nor = factory_new(&root);
    let mut agent = agent(&mut nor, &root, Bundle::open(&bytes[..]).unwrap());
    let mut clock = [NOW + 99 * DAY, NOW + 100 * DAY].into_iter().map(Clock::At);
    let checked = agent.check(&mut || clock.next().unwrap(), &mut |_| ());
    let (expires, start) = (Date(NOW + 100 * DAY), Date(NOW + 100 * DAY));
    let freeze = Refused::Freeze { role: Role::Targets, expires, start };
    assert_eq!((checked, clock.next()), (Err(Rejected::Metadata(freeze).into()), None));
    assert_nothing_installed(&mut nor, &root);
}

#[test]
fn bundle_older_than_what_the_device_knows_is_a_rollback() {
    let newer = Repository { version: 6, releases: vec![release(1, "0.9.0", 900)], ..rotated() };
    let root = newer.first_root();
    let mut nor = factory_new(&root);
    let bytes = encode(&contents(&newer, 1));
    assert_eq!(check(&mut nor, &root, &bytes[..], NOW), Ok(Checked::UpToDate));
    let bytes = encode(&contents(&rotated(), 1));
    let state = |nor: &mut TestNor| {
        let trust = agent(nor, &root, Bundle::open(&bytes[..]).unwrap()).trust().clone();
        // Beside roots and floors lies what the last turn ended in.
        let Region { offset, length } = map().layout().trust;
        let mut rest = nor.bytes().to_vec();
        rest.drain(offset as usize..(offset + length) as usize);
        (trust, rest)
    };
    let before = state(&mut nor);
    let rollback = Refused::Rollback { role: Role::Timestamp, trusted: 6, offered: 5 };
    assert_eq!(check(&mut nor, &root, &bytes[..], NOW), Err(Rejected::Metadata(rollback).into()));
    assert!(state(&mut nor) == before);
}

#[test]
fn image_of_a_bundle_that_exceeds_the_slot_is_refused_before_anything_is_erased() {
    let repository = Repository { releases: vec![release(7, "1.0.0", SLOT + 1)], ..rotated() };
    let root = repository.first_root();
    let mut nor = factory_new(&root);
    let slot_b = map().slot(SlotId::B).offset as usize;
    nor.forge(slot_b, &[0x33; SLOT]);
    let bytes = encode(&contents(&repository, 1));
    let larger = Rejected::ImageLargerThanSlot { length: SLOT as u32 + 1, slot: SLOT as u32 };
    assert_eq!(check(&mut nor, &root, &bytes[..], NOW), Err(larger.into()));
    assert_eq!(nor.bytes()[slot_b..slot_b + SLOT], [0x33; SLOT]);
    assert_nothing_installed(&mut nor, &root);
}

#[test]
fn bundle_from_a_later_root_serves_devices_that_have_it_and_tells_the_others() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 2));
    let mut nor = factory_new(&root);
    let lacks = Rejected::BundleLacksRoot { version: 2 };
    assert_eq!(check(&mut nor, &root, &bytes[..], NOW), Err(lacks.into()));
    assert_nothing_installed(&mut nor, &root);
    // Root 2 comes by another way, and then the bundle will do.
    let whole = contents(&repository, 1);
    let roots = encode(&whole[..1]);
    let missing = tuffet_client::Environment::Missing { role: Role::Timestamp };
    assert_eq!(check(&mut nor, &root, &roots[..], NOW), Err(Environment::Metadata(missing).into()));
    pending(check(&mut nor, &root, &bytes[..], NOW));
}

#[test]
fn network_is_judged_by_its_own_rules_beside_a_bundle() {
    let repository = rotated();
    let root = repository.first_root();
    // The same files by a transport that is no bundle.
    struct Network<T>(T);
    impl<T: Transport> Transport for Network<T> {
        fn fetch(
            &mut self,
            request: &Request,
            sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
        ) -> Result<(), Error> {
            self.0.fetch(request, sink)
        }
    }
    let bytes = encode(&contents(&repository, 1));
    let mut nor = factory_new(&root);
    let mut agent = agent(&mut nor, &root, Network(Bundle::open(&bytes[..]).unwrap()));
    let checked = agent.check(&mut || Clock::At(NOW + 2 * DAY), &mut |_| ());
    let (expires, start) = (Date(NOW + DAY), Date(NOW + 2 * DAY));
    let freeze = Refused::Freeze { role: Role::Timestamp, expires, start };
    assert_eq!(checked, Err(Rejected::Metadata(freeze).into()));
}

// ---- power

#[test]
fn bundle_cut_at_any_operation_is_installed_when_it_is_applied_again() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    let new = repository.releases[0].digest();
    let mut rehearsal = factory_new(&root);
    rehearsal.plan(None);
    pending(check(&mut rehearsal, &root, &bytes[..], NOW));
    let operations = rehearsal.operations.len();
    assert!(operations > 30, "{operations}");
    for operation in 0..operations {
        for tear in [Tear::Before, Tear::Within { done: 1 }, Tear::Unreadable { done: 3 }, Tear::After] {
            let cut = Cut { operation, tear };
            let mut nor = factory_new(&root);
            nor.plan(Some(cut));
            let outcome = check(&mut nor, &root, &bytes[..], NOW);
            assert!(nor.power_on(), "{cut:?} was never reached: {outcome:?}");
            let started = boot(&mut nor, &root, &bytes);
            if matches!(&started, Started::Active(image) if image.digest != new) {
                pending(check(&mut nor, &root, &bytes[..], NOW));
                let Started::Confirmed(image) = boot(&mut nor, &root, &bytes) else { panic!("{cut:?}") };
                assert_eq!(image.digest, new, "{cut:?}");
            } else {
                assert!(matches!(started, Started::Confirmed(_)), "{cut:?}: {started:?}");
            }
        }
    }
}

// ---- damage

#[test]
fn bundle_with_any_byte_flipped_installs_the_signed_image_or_nothing_and_says_why() {
    let repository = small();
    let root = repository.first_root();
    let good = encode(&contents(&repository, 1));
    let new = repository.releases[0].digest();
    let fresh = factory_new(&root);
    let (mut codes, mut installed) = (BTreeSet::new(), 0);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut nor = fresh.clone();
        match open(&mut nor, &root, &bytes[..]) {
            // A digit of a signature is the same number in upper case.
            Ok(Checked::Pending(image)) => {
                assert!(good[at].is_ascii_hexdigit() && at % 8 == 5 && image.digest == new, "byte {at}");
                installed += 1;
                continue;
            }
            Err(error @ Error::Rejected(_)) => codes.insert(error.code()),
            other => panic!("byte {at}: {other:?}"),
        };
        assert_nothing_installed(&mut nor, &root);
    }
    // Head and index by their own names, metadata by the client's, the image by its digest.
    assert!(installed < 50, "{installed}");
    for code in [420, 421, 422, 404, 102] {
        assert!(codes.contains(&code), "{code} of {codes:?}");
    }
    let mut nor = fresh;
    assert_eq!(pending(open(&mut nor, &root, &good[..])).digest, new);
}

#[test]
fn bundle_cut_short_anywhere_installs_nothing_and_says_where_it_ends() {
    let repository = small();
    let root = repository.first_root();
    let good = encode(&contents(&repository, 1));
    let fresh = factory_new(&root);
    for end in 0..good.len() {
        let mut nor = fresh.clone();
        let expected = match end {
            0..8 => Rejected::NotABundle,
            _ => Rejected::BundleCutShort { at: end as u32 },
        };
        assert_eq!(open(&mut nor, &root, &good[..end]), Err(expected.into()), "{end}");
        assert_nothing_installed(&mut nor, &root);
    }
    // What stands behind the last content is not read.
    let longer = [good, vec![0; 100]].concat();
    pending(open(&mut fresh.clone(), &root, &longer[..]));
}

#[test]
fn index_that_no_bundle_can_have_is_refused_with_its_place() {
    let files = contents(&small(), 1);
    let good = encode(&files);
    let refused = |bytes: &[u8]| Bundle::open(bytes).err();
    let index = |at, fault| Some(Error::from(Rejected::BundleIndex { at, fault }));
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    assert_eq!(refused(&good), None);
    assert_eq!(refused(b"{\"signed\":{}}   "), Some(Rejected::NotABundle.into()));
    let other = changed(&|bytes| bytes[8] = 2);
    assert_eq!(refused(&other), Some(Rejected::BundleFormat { format: 2 }.into()));
    for files in [0_u16, 129, u16::MAX] {
        let bytes = changed(&|bytes| bytes[10..12].copy_from_slice(&files.to_le_bytes()));
        assert_eq!(refused(&bytes), index(10, IndexFault::Files));
    }
    for length in [0_u32, 15, 4097, u32::MAX] {
        let bytes = changed(&|bytes| bytes[12..16].copy_from_slice(&length.to_le_bytes()));
        assert_eq!(refused(&bytes), index(12, IndexFault::Length));
    }
    let fewer = changed(&|bytes| bytes[10] -= 1);
    assert!(matches!(
        refused(&fewer),
        Some(Error::Rejected(Rejected::BundleIndex { fault: IndexFault::Length, .. }))
    ));
    let more = changed(&|bytes| bytes[10] += 1);
    assert!(matches!(
        refused(&more),
        Some(Error::Rejected(Rejected::BundleIndex { fault: IndexFault::Length, .. }))
    ));
    let gap = changed(&|bytes| bytes[16] += 1);
    assert_eq!(refused(&gap), index(16, IndexFault::Offset));
    let endless = changed(&|bytes| bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert_eq!(refused(&endless), index(20, IndexFault::Offset));
    for length in [0_u16, 554, u16::MAX] {
        let bytes = changed(&|bytes| bytes[24..26].copy_from_slice(&length.to_le_bytes()));
        assert_eq!(refused(&bytes), index(24, IndexFault::Name));
    }
    for byte in [0, b' ', b'?', b'\\', 0x80] {
        let bytes = changed(&|bytes| bytes[28] = byte);
        assert_eq!(refused(&bytes), index(28, IndexFault::Name));
    }
    let end = u32::from_le_bytes(good[12..16].try_into().unwrap()) - 4;
    let sum = changed(&|bytes| bytes[end as usize] ^= 1);
    assert_eq!(refused(&sum), index(end, IndexFault::Checksum));
    // Another name, of the same form: nothing but the checksum tells.
    let renamed = changed(&|bytes| bytes[26] += 1);
    assert_eq!(refused(&renamed), index(end, IndexFault::Checksum));
}

#[test]
fn largest_index_is_read_and_one_byte_more_is_refused() {
    // 128 files, and names that fill it to the last byte.
    let fixed = (INDEX_MAX as usize - 20 - 128 * 10) / 128;
    let mut files: Contents =
        (0..128).map(|number| (format!("{number:0fixed$}"), vec![number as u8])).collect();
    let spare = INDEX_MAX as usize - 20 - files.iter().map(|(name, _)| name.len() + 10).sum::<usize>();
    files[127].0.push_str(&"x".repeat(spare));
    let bytes = encode(&files);
    let mut bundle = Bundle::open(&bytes[..]).unwrap();
    for (name, content) in &files {
        assert_eq!(fetch(&mut bundle, name, 1), Ok(content.clone()));
    }
    let mut listed = Vec::new();
    bundle
        .list(&mut |Entry { offset, length, .. }, name| {
            listed.push((name.to_owned(), bytes[offset as usize..][..length as usize].to_vec()));
            Ok(())
        })
        .unwrap();
    assert_eq!(listed, files);
    files[127].0.push('x');
    let length = Rejected::BundleIndex { at: 12, fault: IndexFault::Length };
    assert_eq!(Bundle::open(&encode(&files)[..]).err(), Some(length.into()));
}

// ---- the transport

#[test]
fn fetch_gives_the_same_bytes_in_chunks_of_any_size_and_never_more_than_the_limit() {
    fn check<const CHUNK: usize>(bytes: &[u8], files: &Contents) {
        // A medium that gives what it likes, at least a byte.
        let mut turn = 0;
        let grudging = |at: u32, buffer: &mut [u8]| {
            turn = turn % 5 + 1;
            let count = buffer.len().min(turn);
            { bytes }.read(at, &mut buffer[..count])
        };
        let mut bundle = Bundle::<_, CHUNK>::open_in_chunks(grudging).unwrap();
        for (name, content) in files {
            let length = content.len() as u32;
            assert_eq!(fetch(&mut bundle, name, length), Ok(content.clone()), "{name} by {CHUNK}");
            let too_long = TransportFault::TooLong { limit: length - 1 };
            assert_eq!(fetch(&mut bundle, name, length - 1), Err(too_long.into()));
        }
        for name in ["9.root.json", "timestamp.jsonx", "timestamp.jso", "", "x"] {
            assert_eq!(fetch(&mut bundle, name, 9), Err(TransportFault::NotFound.into()), "{name}");
        }
        let mut whole = Bundle::<_, CHUNK>::open_in_chunks(bytes).unwrap();
        for (name, content) in files {
            assert_eq!(fetch(&mut whole, name, u32::MAX), Ok(content.clone()), "{name} by {CHUNK}");
        }
    }
    let files = contents(&rotated(), 1);
    let bytes = encode(&files);
    check::<1>(&bytes, &files);
    check::<7>(&bytes, &files);
    check::<256>(&bytes, &files);
    check::<65_536>(&bytes, &files);
}

#[test]
fn medium_that_fails_ends_the_check_and_leaves_the_device_as_it_was() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    for broken in (0..bytes.len()).step_by(97) {
        let mut nor = factory_new(&root);
        let unreadable = TransportFault::Unreadable { at: broken as u32 };
        let pulled = |at: u32, buffer: &mut [u8]| {
            let left = broken.saturating_sub(at as usize).min(buffer.len());
            if left == 0 { Err(unreadable.into()) } else { { &bytes[..] }.read(at, &mut buffer[..left]) }
        };
        assert_eq!(open(&mut nor, &root, pulled), Err(unreadable.into()), "{broken}");
        assert_nothing_installed(&mut nor, &root);
        pending(open(&mut nor, &root, &bytes[..]));
    }
}

// ---- lines

/// Gives a bundle's bytes once, so many at a time.
struct OneWay<'b> {
    bytes: &'b [u8],
    next: usize,
    chunk: usize,
}

impl Line for OneWay<'_> {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportFault> {
        let count = self.chunk.min(buffer.len()).min(self.bytes.len() - self.next);
        buffer[..count].copy_from_slice(&self.bytes[self.next..][..count]);
        self.next += count;
        Ok(count)
    }
}

/// The same, and goes back when it is asked.
struct TwoWay<'b> {
    line: OneWay<'b>,
    asked: Rc<Cell<usize>>,
}

impl Line for TwoWay<'_> {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportFault> {
        self.line.receive(buffer)
    }

    fn send_from(&mut self, at: u32) -> Result<(), TransportFault> {
        self.line.next = at as usize;
        self.asked.set(self.asked.get() + 1);
        Ok(())
    }
}

#[test]
fn line_that_cannot_go_back_brings_a_device_from_factory_to_pending_in_one_pass() {
    let repository = rotated();
    let root = repository.first_root();
    let bytes = encode(&contents(&repository, 1));
    for chunk in [1, 3, 20, 251, usize::MAX] {
        let mut nor = factory_new(&root);
        let line = OneWay { bytes: &bytes, next: 0, chunk };
        let image = pending(open(&mut nor, &root, Stream::<_, 512>::new(line)));
        assert_eq!(image.digest, repository.releases[0].digest());
        // It comes once more, and the image on trial sees a timestamp that verifies.
        let line = OneWay { bytes: &bytes, next: 0, chunk };
        let bundle = Bundle::open(Stream::<_, 512>::new(line)).unwrap();
        let mut agent = agent(&mut nor, &root, bundle);
        assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
    }
}

#[test]
fn line_with_files_in_another_order_is_asked_to_go_back_or_says_that_it_must() {
    let repository = rotated();
    let root = repository.first_root();
    let mut files = contents(&repository, 1);
    files.reverse();
    let bytes = encode(&files);
    let mut nor = factory_new(&root);
    let line = OneWay { bytes: &bytes, next: 0, chunk: 64 };
    let checked = open(&mut nor, &root, Stream::<_, 512>::new(line));
    let Err(Error::Environment(Environment::Transport(TransportFault::Passed { .. }))) = checked else {
        panic!("{checked:?}")
    };
    assert_nothing_installed(&mut nor, &root);
    // Also a device that cannot hold the index gets along with a host that answers.
    for (bytes, room) in [(&bytes, false), (&encode(&contents(&repository, 1)), true)] {
        let mut nor = factory_new(&root);
        let asked = Rc::new(Cell::new(0));
        let line = TwoWay { line: OneWay { bytes, next: 0, chunk: 64 }, asked: asked.clone() };
        let checked = match room {
            true => open(&mut nor, &root, Stream::<_, 0>::new(line)),
            false => open(&mut nor, &root, Stream::<_, 512>::new(line)),
        };
        assert_eq!(pending(checked).digest, repository.releases[0].digest());
        assert!(asked.get() > 3, "{}", asked.get());
    }
}

#[test]
fn device_that_passes_a_candidate_over_takes_the_next_from_a_line_that_goes_one_way() {
    let releases = vec![release(7, "1.0.0", 3000), release(6, "0.9.9", 1234)];
    let repository = Repository { releases, ..rotated() };
    let root = repository.first_root();
    let mut files = contents(&repository, 1);
    let mut nor = factory_new(&root);
    let bytes = encode(&files);
    let image = pending(check(&mut nor, &root, &bytes[..], NOW));
    let mut agent = agent(&mut nor, &root, Bundle::open(&bytes[..]).unwrap());
    assert_eq!(agent.boot(&mut now, &mut |_| false, &mut |_| ()), Ok(Started::Reverted(image)));
    assert!(matches!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Active(_))));
    // The next in line is not in this bundle, and then it is.
    let missing = agent.check(&mut now, &mut |_| ());
    assert_eq!(missing, Err(TransportFault::NotFound.into()));
    files.push((repository.releases[1].file(), repository.releases[1].image.clone()));
    let bytes = encode(&files);
    let line = OneWay { bytes: &bytes, next: 0, chunk: 64 };
    assert_eq!(pending(open(&mut nor, &root, Stream::<_, 512>::new(line))).sequence, 6);
}

// ---- what the tests are made of

/// A bundle of these files, written from `docs/format.md` alone.
pub(crate) fn encode(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let index: usize = files.iter().map(|(name, _)| 10 + name.len()).sum();
    let start = 16 + index + 4;
    let mut bytes = b"TUFFET\x1a\n".to_vec();
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((start as u32).to_le_bytes());
    let mut offset = start;
    for (name, content) in files {
        bytes.extend((offset as u32).to_le_bytes());
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.bytes());
        offset += content.len();
    }
    bytes.extend(crc32(&bytes).to_le_bytes());
    assert_eq!(bytes.len(), start);
    files.iter().for_each(|(_, content)| bytes.extend(content));
    bytes
}

/// CRC-32 as in Ethernet and zip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// What a device with this root asks of a repository, in order.
pub(crate) fn contents(repository: &Repository, root: usize) -> Contents {
    let files: Files = repository.files();
    let roots = (root + 1..=repository.online_keys.len()).map(|version| format!("{version}.root.json"));
    let version = repository.version;
    let metadata =
        ["timestamp.json".to_owned(), format!("{version}.snapshot.json"), format!("{version}.targets.json")];
    let names = roots.chain(metadata).chain([repository.releases[0].file()]);
    names.map(|name| (name.clone(), files[&name].clone())).collect()
}

fn fetch(bundle: &mut impl Transport, name: &str, limit: u32) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bundle.fetch(&Request::whole(name, limit).unwrap(), &mut |input| {
        let chunk = input.bytes();
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(bytes)
}

/// Two rotations of the online key.
fn rotated() -> Repository {
    let online_keys = vec!["online", "second", "third"];
    Repository { online_keys, ..Repository::new(vec![release(7, "1.0.0", 3000)]) }
}

/// No rotation, and a small image.
fn small() -> Repository {
    Repository::new(vec![release(7, "1.0.0", 300)])
}

fn release(sequence: u32, version: &'static str, length: usize) -> Release {
    let image = (0..length).map(|at| (at * 7 + sequence as usize) as u8).collect();
    Release { sequence, counter: 3, version, image }
}

fn factory(root: &[u8]) -> Factory<'_> {
    let (product, hardware, channel) = ("lamp", "rev-a", "stable");
    Factory { root, product, hardware, channel, counter: 1, built: NOW - 5 * DAY }
}

/// A device with 0.9.0 of sequence 1.
fn factory_new(root: &[u8]) -> TestNor {
    let mut flash = Flash::new(Nor::new(map().capacity(), 0xFF), map()).unwrap();
    let image = FactoryImage { bytes: &[0x42; 1700], sequence: 1, version: "0.9.0" };
    provision(&mut flash, &SOFTWARE, &factory(root), &image).unwrap();
    flash.into_nor()
}

fn agent<'a, T: Transport>(
    nor: &'a mut TestNor,
    root: &'a [u8],
    transport: T,
) -> Agent<'a, &'a mut TestNor, T> {
    Agent::new(Flash::new(nor, map()).unwrap(), transport, &SOFTWARE, factory(root), b"lamp-17").unwrap()
}

fn now() -> Clock {
    Clock::At(NOW)
}

fn check(nor: &mut TestNor, root: &[u8], medium: impl Medium, now: u64) -> Result<Checked, Error> {
    agent(nor, root, Bundle::open(medium)?).check(&mut || Clock::At(now), &mut |_| ())
}

fn open(nor: &mut TestNor, root: &[u8], medium: impl Medium) -> Result<Checked, Error> {
    check(nor, root, medium, NOW)
}

fn boot(nor: &mut TestNor, root: &[u8], bytes: &[u8]) -> Started {
    let mut agent = agent(nor, root, Bundle::open(bytes).unwrap());
    agent.boot(&mut now, &mut |_| true, &mut |_| ()).unwrap()
}

#[track_caller]
fn pending(checked: Result<Checked, Error>) -> boot::SlotImage {
    match checked {
        Ok(Checked::Pending(image)) => image,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_nothing_installed(nor: &mut TestNor, root: &[u8]) {
    let mut fresh = factory_new(root);
    let Layout { boot, slot_a, .. } = *map().layout();
    let bytes = |nor: &TestNor, Region { offset, length }: Region| {
        nor.bytes()[offset as usize..(offset + length) as usize].to_vec()
    };
    assert_eq!(bytes(nor, slot_a), bytes(&fresh, slot_a));
    let record_bytes = bytes(nor, boot) == bytes(&fresh, boot);
    let mut flash = Flash::new(nor, map()).unwrap();
    let record = BootRecord::load(&mut flash).unwrap();
    // Only that an image came down whole is written there before it is refused.
    assert!(record_bytes || record.staged.is_some());
    let factory = BootRecord::load(&mut Flash::new(&mut fresh, map()).unwrap()).unwrap();
    assert_eq!(BootRecord { staged: None, ..record }, factory);
    assert_eq!(boot::is_bootable(&mut flash, SlotId::B), Ok(false));
}

fn map() -> FlashMap {
    let region = |offset, length| Region { offset, length };
    FlashMap::new(Layout {
        erase_unit: 256,
        write_unit: 4,
        erased: 0xFF,
        boot: region(0, 0x400),
        trust: region(0x400, 0x1400),
        slot_a: region(0x2000, SLOT as u32),
        slot_b: region(0x3000, SLOT as u32),
    })
    .unwrap()
}
