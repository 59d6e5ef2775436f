//! The flash in a file refuses what a chip would spoil.
#![cfg(feature = "std")]

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::thread;

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use tuffet_agent::file_flash::{FileFlash, FileFlashError};
use tuffet_agent::{Flash, FlashMap};

#[test]
fn create_makes_a_blank_file_that_fits_the_demo_map() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.nor");
    let mut nor = FileFlash::create(&path).unwrap();
    assert_eq!(nor.snapshot().unwrap(), vec![0xFF; 0x9_0000]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0x9_0000);
    Flash::new(nor, FlashMap::DEMO).unwrap();
    assert_eq!(FileFlash::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn write_survives_a_close_and_only_an_erase_undoes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.nor");
    let mut nor = FileFlash::create(&path).unwrap();
    nor.write(0x1000, b"eight by").unwrap();
    nor.sync().unwrap();
    drop(nor);

    let mut nor = FileFlash::open(&path).unwrap();
    let mut found = [0; 12];
    nor.read(0x1000, &mut found).unwrap();
    assert_eq!(&found, b"eight by\xFF\xFF\xFF\xFF");
    nor.erase(0x1000, 0x2000).unwrap();
    assert_eq!(nor.snapshot().unwrap(), vec![0xFF; 0x9_0000]);
}

#[test]
fn operation_against_the_contract_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut nor = FileFlash::create(&folder.path().join("device.nor")).unwrap();
    nor.write(8, &[0; 8]).unwrap();
    let before = nor.snapshot().unwrap();
    let not_erased = |error| matches!(error, FileFlashError::NotErased { offset: 12 });

    // Not even the same bytes, nor bits that could still be cleared.
    assert!(not_erased(nor.write(12, &[0; 4]).unwrap_err()));
    assert!(not_erased(nor.write(12, &[0xFF; 8]).unwrap_err()));
    assert!(matches!(nor.write(0, &[0; 12]), Err(FileFlashError::NotErased { offset: 8 })));
    assert!(matches!(nor.write(2, &[0; 4]), Err(FileFlashError::NotAligned)));
    assert!(matches!(nor.write(0, &[0; 3]), Err(FileFlashError::NotAligned)));
    assert!(matches!(nor.write(0x9_0000, &[0; 4]), Err(FileFlashError::OutOfBounds)));
    assert!(matches!(nor.erase(0, 0x800), Err(FileFlashError::NotAligned)));
    assert!(matches!(nor.erase(0x1000, 0), Err(FileFlashError::OutOfBounds)));
    assert!(matches!(nor.erase(0x8_F000, 0x9_1000), Err(FileFlashError::OutOfBounds)));
    assert!(matches!(nor.read(0x8_FFFF, &mut [0; 2]), Err(FileFlashError::OutOfBounds)));
    assert_eq!(nor.snapshot().unwrap(), before);
}

#[test]
fn open_of_a_flash_in_use_or_of_another_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.nor");
    let nor = FileFlash::create(&path).unwrap();
    assert_eq!(FileFlash::open(&path).unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(nor);
    fs::write(&path, [0xFF; 100]).unwrap();
    let error = FileFlash::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "is no flash of this map: it has 100 bytes, not 589824");
    assert_eq!(FileFlash::open(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn flash_that_is_dropped_is_free_though_processes_are_being_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.nor");
    drop(FileFlash::create(&path).unwrap());
    // A child that was forked and has not executed its program yet holds copies of all files.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = Command::new("/nonexistent").spawn();
                }
            });
        }
        let opened: Result<Vec<()>, _> = (0..3000).map(|_| FileFlash::open(&path).map(drop)).collect();
        stop.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}
