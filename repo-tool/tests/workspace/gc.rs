//! What is deleted, and what never is.

use core::time::Duration;
use std::fs::{self, File};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::support::{Bench, DAY, NOW, PUBLISH};

/// Makes every published file as old as if it had been written at `date`.
fn written_at(bench: &Bench, date: u64) {
    fn walk(directory: &Path, date: u64) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, date),
                false => {
                    let file = File::options().write(true).open(&path).unwrap();
                    file.set_modified(UNIX_EPOCH + Duration::from_secs(date)).unwrap();
                }
            }
        }
    }
    walk(&bench.repo().join("public"), date);
}

fn release(bench: &Bench, version: &str, now: u64) {
    bench.image("fw.bin", version.as_bytes());
    let add =
        ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", version];
    bench.ok_at(now, &add);
    bench.sign(2);
    bench.ok_at(now, &PUBLISH);
}

fn json(bench: &Bench) -> Vec<String> {
    let files = bench.public_files();
    files.into_iter().filter(|file| file.ends_with(".json")).collect()
}

#[test]
fn gc_deletes_what_no_snapshot_that_is_good_or_just_was_leads_to() {
    let mut bench = Bench::new();
    release(&bench, "1.0.0", NOW);
    let root = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    release(&bench, "1.1.0", NOW + 20 * DAY);
    // An orphan, something of somebody else's, and what a publisher left that died.
    let public = bench.repo().join("public");
    fs::write(public.join("7.targets.json"), "{}").unwrap();
    fs::write(public.join("index.html"), "hello").unwrap();
    fs::write(public.join(".htaccess"), "deny").unwrap();
    fs::write(public.join(".9.targets.json.partial"), "{").unwrap();
    written_at(&bench, NOW);

    // Snapshot 1 is good for thirty days, and a week of grace follows.
    let at = |day: u64| NOW + day * DAY;
    let all = [
        "1.root.json",
        "1.snapshot.json",
        "1.targets.json",
        "2.root.json",
        "2.snapshot.json",
        "2.targets.json",
    ];
    let said = bench.ok_at(at(6), &["gc", "--dry-run"]);
    assert!(said.contains("would delete 0 files"), "younger than the grace: {said}");
    bench.ok_at(at(36), &PUBLISH);
    written_at(&bench, NOW);
    let said = bench.ok_at(at(36), &["gc", "--dry-run"]);
    assert!(
        said.contains("would delete 7.targets.json\n") && said.contains("would delete 2 files"),
        "{said}"
    );
    assert!(public.join("7.targets.json").exists());
    let said = bench.ok_at(at(36), &["gc"]);
    assert!(said.contains("deleted .9.targets.json.partial\n"), "{said}");
    let left = json(&bench);
    assert!(all.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");

    let said = bench.ok_at(at(37), &["gc"]);
    assert!(
        said.contains("deleted 1.snapshot.json\n") && said.contains("deleted 1.targets.json\n"),
        "{said}"
    );
    // The entry that listed 1.0.0 alone goes, its image is still a target.
    assert!(said.contains(".release\n") && !said.contains("fw.bin"), "{said}");
    let left = json(&bench);
    assert!(left.contains(&"1.root.json".to_owned()) && left.contains(&"2.root.json".to_owned()), "{left:?}");
    assert!(public.join("index.html").exists() && public.join(".htaccess").exists());
    bench.ok_at(at(37), &["verify"]);
    assert!(bench.ok_at(at(37), &["gc"]).contains("deleted 0 files"));
}

#[test]
fn images_that_no_channel_lists_go_when_holders_took_them_off_and_the_grace_is_over() {
    let bench = Bench::new();
    for version in ["1.0.0", "1.1.0"] {
        release(&bench, version, NOW);
    }
    let withdraw = ["release", "withdraw", "1.0.0", "--hardware", "rev-a", "--channel", "stable"];
    bench.ok(&withdraw);
    bench.sign(2);
    bench.publish();
    written_at(&bench, NOW);
    let image = |bench: &Bench| bench.public_files().iter().any(|file| file.contains("versions/1.0.0/"));
    assert!(bench.ok_at(NOW + 100 * DAY, &["release", "prune"]).contains("every image is listed"));
    bench.ok_at(NOW + 100 * DAY, &PUBLISH);
    // Retention is 180 days, and so is what targets are good for.
    let later = NOW + 180 * DAY;
    bench.ok_at(later - DAY, &PUBLISH);
    let said = bench.ok_at(later, &["release", "prune"]);
    assert!(said.contains("took off thermo/rev-a/versions/1.0.0/fw.bin, 5 bytes"), "{said}");
    bench.sign(2);
    bench.ok_at(later, &PUBLISH);
    bench.ok_at(later, &["gc"]);
    assert!(image(&bench), "a device may be on its way to it");
    bench.ok_at(later + 30 * DAY, &PUBLISH);
    bench.ok_at(later + 38 * DAY, &PUBLISH);
    bench.ok_at(later + 38 * DAY, &["gc"]);
    assert!(!image(&bench));
    bench.ok_at(later + 38 * DAY, &["verify"]);
}
