//! Images that nobody made: entries of any type and length, areas that lie, and a judge with a reader of its own.

use core::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tuffet_agent::mcuboot::{DEPENDENCIES, Fault, Signature};

use crate::{read, read_by, sha256};

/// Version, security counter, digest, number of dependencies, length.
type Facts = ((u8, u8, u16, u32), Option<u32>, [u8; 32], usize, usize);

/// The verdict, and the facts, straight from the bytes, all of which are at hand.
fn judge(bytes: &[u8]) -> Option<Facts> {
    let u16_at =
        |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().unwrap())));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().unwrap()));
    let (header, protected, image) = (u16_at(8)?, u16_at(10)?, u32_at(12)? as usize);
    bytes.get(..32)?;
    if u32_at(0)? != 0x96f3_b83d || header < 32 {
        return None;
    }
    // One area: its entries, and where it ends.
    let area = |start: usize, magic: usize| {
        let (mut at, end) = (start + 4, start + u16_at(start + 2)?);
        let mut entries = Vec::new();
        if u16_at(start)? != magic || end < at {
            return None;
        }
        while at < end {
            let (kind, value) = (u16_at(at)?, at + 4..at + 4 + u16_at(at + 2)?);
            at = value.end;
            if at > end {
                return None;
            }
            entries.push((kind, bytes.get(value)?));
        }
        Some((entries, end))
    };
    let body = header + image;
    let (sheltered, hashed) = if protected == 0 { (Vec::new(), body) } else { area(body, 0x6908)? };
    let (others, end) = area(hashed, 0x6907)?;
    if hashed != body + protected {
        return None;
    }
    let of = |entries: &[(usize, &[u8])], kind: usize| -> Vec<Vec<u8>> {
        entries.iter().filter(|entry| entry.0 == kind).map(|entry| entry.1.to_vec()).collect()
    };
    let has = |entries: &[(usize, &[u8])], kinds: core::ops::RangeInclusive<usize>| {
        entries.iter().any(|entry| kinds.contains(&entry.0))
    };
    if has(&sheltered, 0x10..=0x12) || has(&sheltered, 0x20..=0x24) {
        return None;
    }
    if has(&others, 0x40..=0x40) || has(&others, 0x50..=0x50) {
        return None;
    }
    let digest: [u8; 32] = match &of(&others, 0x10)[..] {
        [one] => one[..].try_into().ok()?,
        _ => return None,
    };
    let counter = match &of(&sheltered, 0x50)[..] {
        [] => None,
        [one] => Some(u32::from_le_bytes(one[..].try_into().ok()?)),
        _ => return None,
    };
    let dependencies = of(&sheltered, 0x40);
    if dependencies.len() > DEPENDENCIES || dependencies.iter().any(|one| one.len() != 12) {
        return None;
    }
    let encrypted = bytes[16] & 0x0c != 0;
    let sealed_key = has(&sheltered, 0x30..=0x34) || has(&others, 0x30..=0x34);
    if (encrypted && !sealed_key) || (!encrypted && sha256(&bytes[..hashed]) != digest) {
        return None;
    }
    let version = (bytes[20], bytes[21], u16_at(22)?.try_into().unwrap(), u32_at(24)?);
    Some((version, counter, digest, dependencies.len(), end))
}

/// Both verdicts are the same, and so are the facts.
fn agree(bytes: &[u8], chunk: usize) -> Result<bool, TestCaseError> {
    let found = read(bytes);
    prop_assert_eq!(&read_by(chunk, bytes), &found);
    let facts = found.as_ref().ok().map(|found| {
        let version = found.header.version;
        let version = (version.major, version.minor, version.revision, version.build);
        (
            version,
            found.counter,
            found.digest,
            found.dependencies.len(),
            usize::try_from(found.length).unwrap(),
        )
    });
    prop_assert_eq!(facts, judge(bytes), "{:?}", found);
    Ok(facts.is_some())
}

type Entry = (u16, Vec<u8>);

/// An entry of any type, most often one that is known, and as long as it should be.
fn entry() -> impl Strategy<Value = Entry> {
    let known = prop::sample::select(vec![
        (0x01, 32),
        (0x02, 9),
        (0x10, 32),
        (0x12, 64),
        (0x20, 8),
        (0x22, 7),
        (0x25, 1),
        (0x31, 24),
        (0x40, 12),
        (0x40, 12),
        (0x50, 4),
        (0x50, 4),
        (0xa0, 3),
        (0x110, 32),
    ]);
    let known = known.prop_flat_map(|(kind, length)| {
        prop::collection::vec(any::<u8>(), length).prop_map(move |value| (kind, value))
    });
    let other = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![8 => known, 1 => other]
}

fn area(magic: u16, entries: &[Entry], lie: i16) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in entries {
        body.extend(kind.to_le_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        body.extend(value);
    }
    let length = u16::try_from(body.len() + 4).unwrap().wrapping_add_signed(lie);
    [&magic.to_le_bytes()[..], &length.to_le_bytes(), &body].concat()
}

/// An image, with its right digest among the entries that are not protected.
fn build(
    header: u16,
    payload: &[u8],
    flags: u8,
    protected: Option<&[Entry]>,
    others: &[Entry],
    lies: [i16; 3],
) -> Vec<u8> {
    let protected = protected.map_or_else(Vec::new, |entries| area(0x6908, entries, lies[0]));
    let mut bytes = vec![0; header.max(32).into()];
    bytes[..4].copy_from_slice(&0x96f3_b83d_u32.to_le_bytes());
    bytes[8..10].copy_from_slice(&header.to_le_bytes());
    let stated = u16::try_from(protected.len()).unwrap().wrapping_add_signed(lies[1]);
    bytes[10..12].copy_from_slice(&stated.to_le_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes[16] = flags;
    bytes[20..28].copy_from_slice(&[1, 2, 3, 0, 4, 0, 0, 0]);
    bytes.extend(payload);
    bytes.extend(protected);
    let mut all = vec![(0x10, sha256(&bytes).to_vec())];
    all.extend_from_slice(others);
    bytes.extend(area(0x6907, &all, lies[2]));
    bytes
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

/// Mostly the truth.
fn lie() -> impl Strategy<Value = i16> {
    prop_oneof![20 => Just(0_i16), 1 => -40_i16..40, 1 => any::<i16>()]
}

/// An image that is sound more often than not.
fn built() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![8 => Just(32_u16), 1 => 0_u16..100];
    let payload = prop::collection::vec(any::<u8>(), 0..50);
    let flags = prop::sample::select(vec![0_u8, 0, 0, 4, 8, 0x10]);
    let protected = prop::option::of(prop::collection::vec(entry(), 0..4));
    let others = prop::collection::vec(entry(), 0..3);
    (header, payload, flags, protected, others, [lie(), lie(), lie()]).prop_map(
        |(header, payload, flags, protected, others, lies)| {
            build(header, &payload, flags, protected.as_deref(), &others, lies)
        },
    )
}

/// The same, with something behind it, a byte changed, or cut off.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::collection::vec(any::<u8>(), 0..30);
    let edit = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    (built(), rest, edit, cut).prop_map(|(mut bytes, rest, edit, cut)| {
        bytes.extend(rest);
        if let Some((at, value)) = edit {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

#[test]
fn image_of_any_entries_is_judged_as_by_the_judge() {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(config(8000))
        .run(&(changed(), 1_usize..70), |(bytes, chunk)| {
            let count = if agree(&bytes, chunk)? { &accepted } else { &refused };
            count.set(count.get() + 1);
            Ok(())
        })
        .unwrap();
    // It is no agreement that everything is refused.
    assert!(accepted.get() > 1500 && refused.get() > 1500, "{} {}", accepted.get(), refused.get());
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn any_bytes_behind_the_magic_are_judged_as_by_the_judge(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        chunk in 1_usize..70,
    ) {
        let bytes = [&0x96f3_b83d_u32.to_le_bytes()[..], &noise].concat();
        agree(&bytes, chunk)?;
    }
}

#[test]
fn image_with_each_length_off_by_any_amount_is_refused_by_the_fault() {
    let counter = (0x50, vec![5, 0, 0, 0]);
    let unlucky = |lies| {
        read(&build(32, b"program", 0, Some(core::slice::from_ref(&counter)), &[(0x01, vec![7; 32])], lies))
    };
    assert_eq!(unlucky([0; 3]).unwrap().counter, Some(5));
    for lie in (-12..0).chain(1..200) {
        let area = 12_u16.wrapping_add_signed(lie);
        assert_eq!(unlucky([lie, 0, 0]), Err(Fault::ProtectedLength { header: 12, area }), "{lie}");
        let refused = unlucky([0, lie, 0]);
        let expected = match lie {
            // Without protected entries, the others begin where these do.
            -12 => Fault::AreaMagic { offset: 39, found: 0x6908, expected: 0x6907 },
            _ => Fault::ProtectedLength { header: area, area: 12 },
        };
        assert_eq!(refused, Err(expected), "{lie}");
        // Both the same: the area cuts an entry, or takes in what is none.
        let refused = unlucky([lie, lie, 0]);
        match lie {
            -12 => assert_eq!(refused, Err(Fault::AreaMagic { offset: 39, found: 0x6908, expected: 0x6907 })),
            -11..-8 => assert_eq!(refused, Err(Fault::AreaLength { length: area })),
            _ => assert!(refused.is_err(), "{lie}: {refused:?}"),
        }
        let refused = unlucky([0, 0, lie]);
        match lie {
            ..0 => assert_eq!(refused, Err(Fault::EntryPastArea { offset: 91 }), "{lie}"),
            _ => assert!(
                matches!(refused, Err(Fault::Cut { .. } | Fault::EntryPastArea { .. })),
                "{lie}: {refused:?}"
            ),
        }
    }
}

#[test]
fn image_with_one_entry_wrong_is_refused_by_the_fault() {
    let entry = |kind: u16, length: usize| (kind, vec![1; length]);
    let protected = |entries: &[Entry]| read(&build(32, b"program", 0, Some(entries), &[], [0; 3]));
    let others = |entries: &[Entry]| read(&build(32, b"program", 0, None, entries, [0; 3]));
    assert!(protected(&[entry(0x50, 4), entry(0x40, 12), entry(0xa0, 0)]).is_ok());
    assert!(others(&[entry(0x01, 32), entry(0x22, 70), entry(0x99, 0)]).is_ok());
    for (kind, expected) in [(0x50, 4), (0x40, 12)] {
        for length in (0..40).filter(|length| *length != expected) {
            let fault = Fault::EntryLength { kind, length, expected };
            assert_eq!(protected(&[entry(kind, length.into())]), Err(fault));
        }
        assert_eq!(others(&[entry(kind, expected.into())]), Err(Fault::Misplaced { kind }));
    }
    for kind in [0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24] {
        assert_eq!(protected(&[entry(kind, 32)]), Err(Fault::Misplaced { kind }));
    }
    assert_eq!(protected(&[entry(0x50, 4), entry(0x50, 4)]), Err(Fault::Repeated { kind: 0x50 }));
    assert_eq!(others(&[entry(0x10, 32)]), Err(Fault::Repeated { kind: 0x10 }));
    assert_eq!(others(&[entry(0x10, 31)]), Err(Fault::EntryLength { kind: 0x10, length: 31, expected: 32 }));
    let two = others(&[entry(0x22, 70), entry(0x24, 64)]).unwrap();
    assert_eq!(two.signature, Some(Signature::Ecdsa), "the first of two");
    let many = vec![entry(0x40, 12); DEPENDENCIES];
    assert_eq!(protected(&many).unwrap().dependencies.len(), DEPENDENCIES);
    assert_eq!(protected(&vec![entry(0x40, 12); DEPENDENCIES + 1]), Err(Fault::TooManyDependencies));
    let short = read(&build(31, b"program", 0, None, &[], [0; 3]));
    assert_eq!(short, Err(Fault::HeaderLength { length: 31 }));
    // An area that has nothing in it, where the digest should be.
    let mut none = build(32, b"program", 0, None, &[], [-36, 0, -36]);
    none.truncate(32 + 7 + 4);
    assert_eq!(read(&none), Err(Fault::NoDigest));
}

#[test]
fn image_that_says_it_has_four_gigabytes_is_cut_off() {
    let mut bytes = build(0xffff, b"program", 0, None, &[], [0; 3]);
    bytes[10..16].copy_from_slice(&[0xff; 6]);
    let Err(Fault::Cut { length, needed }) = read(&bytes) else { panic!() };
    assert_eq!((length, needed), (bytes.len() as u64, 0xffff + 0xffff_ffff));
}
