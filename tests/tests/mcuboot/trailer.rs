//! The trailer of a slot before `imgtool`, which writes one behind an image, and reads what we wrote.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::mcuboot::{Mark, State, Swap, Trailer};
use tuffet_agent::{Flash, SlotId};
use tuffet_tests::lab::nor::Nor;

use crate::imgtool::imgtool;

const UNIT: u32 = 0x1000;
const SLOT: u32 = 2 * UNIT;

#[test]
fn trailer_of_any_alignment_is_what_imgtool_writes_and_reads() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("payload.bin"), vec![0xA5; 1500]).unwrap();
    both_ways::<1>(directory.path(), 8, "0xff");
    both_ways::<4>(directory.path(), 8, "0");
    both_ways::<8>(directory.path(), 8, "0xff");
    both_ways::<16>(directory.path(), 16, "0xff");
    both_ways::<32>(directory.path(), 32, "0xff");
    both_ways::<32>(directory.path(), 32, "0");
}

fn both_ways<const WRITE: usize>(directory: &Path, largest: usize, erased: &str) {
    let sign = |options: &str| -> Vec<u8> {
        let line = format!(
            "sign -v 1.2.3 -H 32 --pad-header -S {SLOT:#x} -M 16 --align {WRITE} --max-align {largest} -R {erased} {options} \
             payload.bin image.bin"
        );
        let words = line.split_whitespace().map(str::to_owned).collect();
        imgtool(directory, &[words]);
        fs::read(directory.join("image.bin")).unwrap()
    };
    let [plain, padded, test, confirmed] = ["", "--pad", "--test", "--confirm"].map(sign);
    let context = format!("{WRITE} of {largest}, erased to {erased}");
    let erased = if erased == "0" { 0x00 } else { 0xFF };
    let device = |bytes: &[u8], slot: SlotId| {
        let mut flash = flash::<WRITE>(erased);
        let start = flash.map().slot(slot).offset as usize;
        // Words that hold nothing were not written.
        for (number, word) in bytes.chunks(WRITE).enumerate() {
            if word.iter().any(|byte| *byte != erased) {
                flash.nor_mut().forge(start + number * WRITE, word);
            }
        }
        flash
    };
    let slot_bytes = |flash: &mut Flash<Nor<4096, WRITE>>, slot: SlotId| {
        let start = flash.map().slot(slot).offset as usize;
        flash.nor_mut().bytes()[start..start + SLOT as usize].to_vec()
    };

    // What it writes, we read.
    let blank = Trailer::of(&flash::<WRITE>(erased), SlotId::A).read(&mut flash::<WRITE>(erased));
    for (bytes, image_ok, swap) in [
        (&plain, None, Swap::None),
        (&padded, Some(Mark::Unset), Swap::Test),
        (&test, Some(Mark::Unset), Swap::Test),
        (&confirmed, Some(Mark::Set), Swap::Permanent),
    ] {
        let mut flash = device(bytes, SlotId::B);
        let found = Trailer::of(&flash, SlotId::B).read(&mut flash);
        let magic = if image_ok.is_some() { Mark::Set } else { Mark::Unset };
        let image_ok = image_ok.unwrap_or(Mark::Unset);
        assert_eq!(found, State { magic, image_ok, ..blank }, "{context}");
        assert_eq!(blank.next(&found), swap, "{context}");
    }

    // What we write, it would have written, but for the kind of swap, which it leaves to the bootloader.
    let mut flash = device(&plain, SlotId::B);
    let trailer = Trailer::of(&flash, SlotId::B);
    trailer.request_test(&mut flash, u32::try_from(plain.len()).unwrap()).unwrap();
    let mut ours = slot_bytes(&mut flash, SlotId::B);
    let swap_info = SLOT as usize - 16_usize.next_multiple_of(largest) - 3 * largest;
    assert_eq!(core::mem::replace(&mut ours[swap_info], erased), 2, "{context}");
    assert!(ours == test, "{context}: a request");
    let mut asked = ours;
    asked[swap_info] = 2;
    let shown = dumped(directory, &asked);
    assert_eq!((&shown["image_ok"], &shown["swap_info"]), (&erased.into(), &2.into()), "{context}");

    // The bootloader has swapped, and the image is content.
    let copy_done = SLOT as usize - 16_usize.next_multiple_of(largest) - 2 * largest;
    let mut swapped = test;
    swapped[copy_done] = 1;
    let mut flash = device(&swapped, SlotId::A);
    let trailer = Trailer::of(&flash, SlotId::A);
    assert_eq!(trailer.read(&mut flash).next(&blank), Swap::Revert, "{context}");
    trailer.confirm(&mut flash).unwrap();
    assert_eq!(trailer.read(&mut flash).next(&blank), Swap::None, "{context}");
    let mut ours = slot_bytes(&mut flash, SlotId::A);
    assert_eq!(dumped(directory, &ours)["image_ok"], 1, "{context}");
    ours[copy_done] = erased;
    assert!(ours == confirmed, "{context}: a confirmation");
}

/// What `imgtool dumpinfo` says of a slot's trailer.
fn dumped(directory: &Path, slot: &[u8]) -> Value {
    fs::write(directory.join("slot.bin"), slot).unwrap();
    let words = ["dumpinfo", "-f", "json", "-o", "slot.json", "slot.bin"].map(str::to_owned);
    imgtool(directory, &[words.into()]);
    let shown: Value = serde_json::from_slice(&fs::read(directory.join("slot.json")).unwrap()).unwrap();
    shown["trailer"].clone()
}

fn flash<const WRITE: usize>(erased: u8) -> Flash<Nor<4096, WRITE>> {
    let region = |number: u32| Region { offset: number * 2 * UNIT, length: 2 * UNIT };
    let map = FlashMap::new(Layout {
        erase_unit: UNIT,
        write_unit: u32::try_from(WRITE).unwrap(),
        erased,
        boot: region(0),
        trust: region(1),
        slot_a: region(3),
        slot_b: region(4),
    })
    .unwrap();
    Flash::new(Nor::new(map.capacity(), erased), map).unwrap()
}
