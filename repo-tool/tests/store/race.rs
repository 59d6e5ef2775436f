//! Many publishers at once.

use std::sync::Barrier;
use std::thread;

use tuffet::storage::Unwatched;
use tuffet::store::Store;
use tuffet::{Environment, Error, Rejected};

use crate::support::{Place, file, read};

const PUBLISHERS: usize = 16;

/// The server makes those who meet at one object wait for whole seconds.
fn rounds(place: &Place) -> usize {
    if place.kind == "bucket" { 3 } else { 32 }
}

/// Lets every publisher do the same at the same time, each with a store of its own.
fn race<R: Send>(place: &Place, act: impl Fn(usize, &dyn Store) -> R + Sync) -> Vec<R> {
    let (barrier, act) = (Barrier::new(PUBLISHERS), &act);
    thread::scope(|scope| {
        let start = |number| {
            let (store, barrier) = (place.open(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                act(number, &*store)
            })
        };
        let threads: Vec<_> = (0..PUBLISHERS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn swap_by_many_publishers_at_once_succeeds_for_one_in_each_round() {
    for place in Place::each() {
        let store = place.open();
        let mut before = None;
        for round in 0..rounds(&place) {
            let text = |number| format!("round {round}, publisher {number}");
            let results = race(&place, |number, store| {
                store.swap("timestamp.json", before.as_ref(), text(number).as_bytes(), &mut Unwatched)
            });
            let winners: Vec<usize> = (0..PUBLISHERS).filter(|number| results[*number].is_ok()).collect();
            let [winner] = winners[..] else { panic!("{}: {winners:?} won", place.kind) };
            assert_eq!(read(&*store, "timestamp.json").unwrap(), text(winner));
            for error in results.into_iter().filter_map(Result::err) {
                assert!(matches!(error, Error::Environment(Environment::Outrun { .. })), "{error}");
            }
            before = store.read("timestamp.json", 100).unwrap().map(|stored| stored.tag);
        }
    }
}

#[test]
fn create_by_many_publishers_at_once_succeeds_for_one_in_each_round() {
    for place in Place::each() {
        let store = place.open();
        for round in 0..rounds(&place) {
            let name = format!("targets/{round}/00.x");
            let text = |number| format!("publisher {number}");
            let results =
                race(&place, |number, store| store.create(&[file(&name, &text(number))], &mut Unwatched));
            let winners: Vec<usize> = (0..PUBLISHERS).filter(|number| results[*number].is_ok()).collect();
            let [winner] = winners[..] else { panic!("{}: {winners:?} won", place.kind) };
            assert_eq!(read(&*store, &name).unwrap(), text(winner));
            for error in results.into_iter().filter_map(Result::err) {
                assert!(matches!(error, Error::Rejected(Rejected::ImmutableDiffers { .. })), "{error}");
            }
        }
    }
}

#[test]
fn create_of_the_same_bytes_by_many_publishers_at_once_succeeds_for_all() {
    for place in Place::each() {
        let files: Vec<_> = (0..10).map(|number| file(&format!("targets/{number}.x"), "target")).collect();
        let results = race(&place, |_, store| store.create(&files, &mut Unwatched));
        assert!(results.iter().all(Result::is_ok), "{}: {results:?}", place.kind);
        assert_eq!(place.open().list("").unwrap().len(), files.len(), "{}", place.kind);
    }
}

#[test]
fn lock_of_a_directory_is_held_once_and_makes_all_others_wait() {
    let place = Place::directory();
    let (first, second) = (place.open(), place.open());
    let lock = first.lock().unwrap();
    // Its owner goes on, by the same store alone.
    first.create(&[file("a", "first")], &mut Unwatched).unwrap();
    for store in [&first, &second] {
        let error = store.lock().unwrap_err();
        assert!(matches!(error, Error::Environment(Environment::Locked { .. })), "{error}");
        assert!(error.to_string().contains(".public.lock"), "{error}");
    }
    // By another name it is the same directory.
    let link = place.directory.path().join("www");
    std::os::unix::fs::symlink(place.top(), &link).unwrap();
    tuffet::store::Directory::new(&link).lock().unwrap_err();
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| second.create(&[file("a", "second")], &mut Unwatched));
        first.create(&[file("b", "first")], &mut Unwatched).unwrap();
        drop(lock);
        waiting.join().unwrap()
    });
    assert!(matches!(waiting, Err(Error::Rejected(Rejected::ImmutableDiffers { .. }))), "{waiting:?}");
    drop(second.lock().unwrap());
    assert!(!place.top().join(".public.lock").exists(), "it is not served");
}
