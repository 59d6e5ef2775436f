//! Each attack of the demo, with the very error that it must end in, over real HTTP and a flash in a file.

use tempfile::TempDir;
use tuffet::Error;
use tuffet::demo::attacker::Attack;
use tuffet::demo::device::Evidence;
use tuffet::demo::mirror::Fault;
use tuffet::demo::thief::FAR;
use tuffet::demo::{Images, Outcome, VERSIONS, World};
use tuffet::release::Staged;
use tuffet_agent::agent::{Checked, Started};
use tuffet_agent::transport::TransportFault;
use tuffet_agent::{Environment, Rejected};
use tuffet_client::{Rejected as Metadata, Role};
use tuffet_tests::simulator::NOW;

/// Images of a few erase units each, all different.
fn images() -> Images {
    let image = |seed: u32| (0..9_000_u32).map(|at| (at * seed % 251).to_le_bytes()[0]).collect();
    Images { factory: image(3), releases: [image(5), image(7), image(11)], other: image(13) }
}

/// A world in which the lamp runs 1.1.0, heard of 1.2.0, and did not get it.
struct Stage {
    _directory: TempDir,
    world: World,
    staged: Staged,
}

impl Stage {
    fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut world, _) = World::new(directory.path(), images(), NOW).unwrap();
        for index in [0, 1] {
            world.release(index).unwrap();
            assert!(matches!(world.lamp.check(&mut |_| ()), Ok(Checked::Pending(_))));
            let started = world.lamp.restart(&mut |_| ()).unwrap();
            assert!(matches!(started, Started::Confirmed(image) if image.version == VERSIONS[index]));
        }
        let (staged, _) = world.release(2).unwrap();
        let broken = world.break_connection(&staged).unwrap_err();
        assert_eq!(broken, fault(TransportFault::Connection));
        Stage { _directory: directory, world, staged }
    }

    /// The lamp refuses with this error, and not a byte that matters changes. Then it updates from an honest
    /// mirror, as if nothing had been.
    #[track_caller]
    fn refuses(&self, attack: Attack, expected: &Error) {
        let own = self.world.own_repository().unwrap();
        let Outcome { checked, evidence: [before, after], inactive_slot_boots } =
            self.world.attack(attack, &self.staged, &own).unwrap();
        assert_eq!(checked.as_ref().unwrap_err(), expected);
        self.nothing_changed(&before, &after, inactive_slot_boots);
        self.goes_on();
    }

    /// The lamp ends a check under a fault with this error, and as above.
    #[track_caller]
    fn fails(&self, path: &str, fault: Fault, expected: &Error) {
        self.world.mirror.set_fault(path, fault);
        let Outcome { checked, evidence: [before, after], inactive_slot_boots } = self.world.watch().unwrap();
        assert_eq!(checked.as_ref().unwrap_err(), expected, "{path}");
        self.nothing_changed(&before, &after, inactive_slot_boots);
    }

    #[track_caller]
    fn nothing_changed(&self, before: &Evidence, after: &Evidence, inactive_slot_boots: bool) {
        assert!(before.active_slot == after.active_slot, "the active slot changed");
        assert!(before.boot_record == after.boot_record, "the boot record changed");
        assert!(before.trust == after.trust, "root or floors changed");
        assert!(!inactive_slot_boots, "the inactive slot boots");
        assert_eq!(self.world.lamp.boot_record().unwrap().active.version, "1.1.0");
    }

    #[track_caller]
    fn goes_on(&self) {
        assert!(matches!(self.world.lamp.check(&mut |_| ()), Ok(Checked::Pending(_))));
        let started = self.world.lamp.restart(&mut |_| ()).unwrap();
        assert!(matches!(started, Started::Confirmed(image) if image.version == "1.2.0"));
        assert_eq!(self.world.lamp.check(&mut |_| ()), Ok(Checked::UpToDate));
    }

    fn image_path(&self) -> String {
        World::image_path(&self.staged)
    }
}

fn metadata(rejected: Metadata) -> Error {
    tuffet_agent::Error::from(Rejected::Metadata(rejected)).into()
}

fn image(rejected: Rejected) -> Error {
    tuffet_agent::Error::from(rejected).into()
}

fn fault(fault: TransportFault) -> Error {
    tuffet_agent::Error::from(Environment::Transport(fault)).into()
}

#[test]
fn flipped_image_byte_is_refused() {
    Stage::set().refuses(Attack::FlippedImageByte, &image(Rejected::ImageDigest));
}

#[test]
fn replayed_timestamp_is_refused() {
    let rollback = Metadata::Rollback { role: Role::Timestamp, trusted: 3, offered: 2 };
    Stage::set().refuses(Attack::ReplayedTimestamp, &metadata(rollback));
}

#[test]
fn targets_with_a_signature_too_few_are_refused() {
    let expected = metadata(Metadata::MixAndMatch { role: Role::Targets });
    Stage::set().refuses(Attack::SignatureMissing, &expected);
}

#[test]
fn snapshot_and_targets_of_different_days_are_refused() {
    let expected = metadata(Metadata::MixAndMatch { role: Role::Targets });
    Stage::set().refuses(Attack::DifferentDays, &expected);
}

#[test]
fn endless_file_is_refused() {
    let expected = metadata(Metadata::Oversize { role: Role::Timestamp, limit: 16_384 });
    Stage::set().refuses(Attack::EndlessFile, &expected);
}

#[test]
fn image_of_other_hardware_is_refused() {
    Stage::set().refuses(Attack::OtherHardware, &image(Rejected::ImageDigest));
}

#[test]
fn repository_of_other_keys_is_refused() {
    let unmet = Metadata::ThresholdNotMet { role: Role::Timestamp, valid: 0, threshold: 1 };
    Stage::set().refuses(Attack::OwnRepository, &metadata(unmet));
}

#[test]
fn stolen_online_keys_start_nothing_and_a_new_root_undoes_what_they_did() {
    let mut stage = Stage::set();
    let Outcome { checked, evidence: [before, after], inactive_slot_boots } = stage.world.rob().unwrap();
    let unmet = Metadata::ThresholdNotMet { role: Role::Targets, valid: 1, threshold: 2 };
    assert_eq!(checked.unwrap_err(), metadata(unmet));
    assert!(before.active_slot == after.active_slot && before.boot_record == after.boot_record);
    assert!(!inactive_slot_boots);
    // The timestamp did verify: it freezes the lamp, until the keys are others.
    let rollback = Metadata::Rollback { role: Role::Timestamp, trusted: FAR, offered: 3 };
    assert_eq!(stage.world.lamp.check(&mut |_| ()).unwrap_err(), metadata(rollback));
    stage.world.team.replace_online_keys().unwrap();
    stage.goes_on();
    let trusted = stage.world.lamp.trusted().unwrap();
    assert_eq!((trusted.root().version(), trusted.floors().timestamp_version()), (2, Some(4)));
}

#[test]
fn bad_answers_of_a_server_end_in_one_error_each() {
    let stage = Stage::set();
    let image_path = stage.image_path();
    let syntax = |at| metadata(Metadata::Syntax { role: Role::Timestamp, at });
    let timestamp = "/timestamp.json";
    let status = |code| fault(TransportFault::Status { code });
    let missing = |role| {
        tuffet_agent::Error::from(tuffet_client::Error::from(tuffet_client::Environment::Missing { role }))
    };
    let whole = std::fs::read(stage.world.team.public().join("timestamp.json")).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let truncated = Metadata::Truncated { role: Role::Timestamp, at: u32::try_from(half.len()).unwrap() };
    let wrong_type =
        br#"{"signatures":[],"signed":{"_type":7,"expires":"","spec_version":"1.0.34","version":1}}"#;
    let field = Metadata::Field { role: Role::Timestamp, field: tuffet_client::Field::Type };

    for (path, answer, expected) in [
        (timestamp, Fault::Replace(half), metadata(truncated)),
        (timestamp, Fault::Replace(b"<html>log in to the hotel</html>".to_vec()), syntax(0)),
        (
            timestamp,
            Fault::Replace(Vec::new()),
            metadata(Metadata::Truncated { role: Role::Timestamp, at: 0 }),
        ),
        (timestamp, Fault::Replace(wrong_type.to_vec()), metadata(field)),
        (timestamp, Fault::Status(404), missing(Role::Timestamp).into()),
        (timestamp, Fault::Status(503), status(503)),
        (timestamp, Fault::Redirect("http://127.0.0.1:1/timestamp.json".to_owned()), status(302)),
        (timestamp, Fault::DropAfter(100), fault(TransportFault::Connection)),
        (timestamp, Fault::Hang, fault(TransportFault::Timeout)),
        ("/2.root.json", Fault::Status(500), status(500)),
        (
            "/2.root.json",
            Fault::Replace(b"[".to_vec()),
            metadata(Metadata::Field { role: Role::Root, field: tuffet_client::Field::Signed }),
        ),
        (&image_path, Fault::Status(404), fault(TransportFault::NotFound)),
        (&image_path, Fault::Endless, image(Rejected::ImageTooLong { length: 9_000 })),
        (
            &image_path,
            Fault::Replace(vec![0; 8_999]),
            image(Rejected::ImageTooShort { length: 9_000, received: 8_999 }),
        ),
        (&image_path, Fault::Hang, fault(TransportFault::Timeout)),
        (&image_path, Fault::DropAfter(5_000), fault(TransportFault::Connection)),
    ] {
        if path == image_path {
            // A slot is erased so often on one day, and no more.
            let stage = Stage::set();
            stage.fails(path, answer, &expected);
            if expected == image(Rejected::ImageTooShort { length: 9_000, received: 8_999 }) {
                // What came was kept, and is found to be nobody's once the rest is there.
                let gone_on = stage.world.lamp.check(&mut |_| ());
                assert_eq!(gone_on.unwrap_err(), image(Rejected::ImageDigest));
            }
            stage.goes_on();
        } else {
            stage.fails(path, answer, &expected);
        }
        // One line, with a code, and an exit status of 1 or 3.
        assert_eq!(expected.to_string().lines().count(), 1);
        assert!(matches!(expected.family().exit_status(), 1 | 3), "{expected}");
    }
    stage.goes_on();
}
