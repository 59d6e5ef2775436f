//! Delegation to hash bins (TAP 15).

use serde_json::{Value, json};
use tuffet_client::{Field, Rejected, Role};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

const SNAPSHOT: &str = "again 1.snapshot.json";
const TARGETS: &str = "again 1.targets.json";

/// A repository in bins, whose latest release has an image in the bin of its entry, or in another one.
fn bins(bits: u32, same: bool) -> Repository {
    let mut repository = Repository::default();
    let in_bin = |version: &u32| {
        let path = format!("lamp/rev-a/versions/3.{version}/lamp.bin");
        (Repository::bin(bits, "bin", &path) == Repository::bin(bits, "bin", RELEASE)) == same
    };
    let version = (0..).find(in_bin).unwrap();
    repository.release(3, &format!("3.{version}"));
    repository.delegate_to_bins(bits, "bin", "bins");
    repository.sort_into_bins(bits, "bin");
    repository
}

/// The bins of entry and image.
fn names(repository: &Repository, bits: u32) -> [String; 2] {
    let image = repository.candidates[0].image.path.as_str();
    [RELEASE, image].map(|path| format!("1.{}.json", Repository::bin(bits, "bin", path)))
}

#[test]
fn release_and_image_in_bins_are_found_there() {
    for (bits, digits) in [(1, 1), (4, 1), (5, 2), (8, 2)] {
        for same in [true, false] {
            let repository = bins(bits, same);
            let [entry, image] = names(&repository, bits);
            assert_eq!(entry.len(), "1.bin-.json".len() + digits);
            let mut requests = full_and(&[SNAPSHOT, &entry, TARGETS]);
            if !same {
                requests.extend([SNAPSHOT, &image]);
            }
            accepted(&mut Subject::new(&repository), &repository, &requests, Some(3));
        }
    }
}

#[test]
fn bin_is_the_first_bits_of_the_digest_of_the_path() {
    // Of `printf lamp/rev-a/stable/release | sha256sum`: d298b3ef…
    assert_eq!(sha256(RELEASE.as_bytes())[..4], *"d298");
    for (bits, bin) in [(1, "1"), (4, "d"), (5, "1a"), (8, "d2"), (9, "1a5"), (16, "d298")] {
        let mut repository = Repository::default();
        repository.delegate("targets", &format!("bin-{bin}"), &["bins"], &json!({}));
        repository.release_role = format!("bin-{bin}");
        let keyid = Signer::new("bins").keyid().to_owned();
        let succinct = json!({ "bit_length": bits, "keyids": [keyid], "name_prefix": "bin", "threshold": 1 });
        let delegations = repository.delegations.get_mut("targets").unwrap();
        delegations.as_object_mut().unwrap().remove("roles");
        delegations["succinct_roles"] = succinct;
        let name = format!("1.bin-{bin}.json");
        let requests = full_and(&[SNAPSHOT, &name, TARGETS]);
        accepted(&mut Subject::new(&repository), &repository, &requests, Some(2));
    }
}

#[test]
fn target_in_another_bin_than_its_own_is_not_found() {
    let mut repository = bins(1, true);
    let [entry, _] = names(&repository, 1);
    let other = if entry.contains("-0") { "bin-1" } else { "bin-0" };
    repository.release_role = other.to_owned();
    release_refused(&repository, &full_and(&[SNAPSHOT, &entry]), Rejected::NoRelease);

    let mut repository = bins(1, true);
    let path = repository.candidates[0].image.path.as_str().to_owned();
    let own = Repository::bin(1, "bin", RELEASE);
    let target = repository.delegated.get_mut(&own).unwrap().targets.remove(&path).unwrap();
    repository.delegated.get_mut(other).unwrap().targets.insert(path, target);
    let unauthorised = Rejected::ImageNotAuthorised { sequence: 3 };
    let again = format!("again {entry}");
    release_refused(&repository, &full_and(&[SNAPSHOT, &entry, TARGETS, &again]), unauthorised);
}

#[test]
fn search_never_comes_back_out_of_a_bin() {
    let mut repository = bins(1, true);
    let bin = Repository::bin(1, "bin", RELEASE);
    repository.candidates.clear();
    repository.delegate(&bin, "below", &["below"], &json!({ "paths": LAMP }));
    let (bin, again) = (format!("1.{bin}.json"), format!("again 1.{bin}.json"));
    let requests = [SNAPSHOT, &bin, SNAPSHOT, "1.below.json", &again];
    release_refused(&repository, &full_and(&requests), Rejected::NoRelease);
}

#[test]
fn release_in_a_role_below_a_bin_is_found() {
    let mut repository = bins(4, true);
    let bin = Repository::bin(4, "bin", RELEASE);
    repository.targets = core::mem::take(&mut repository.delegated.get_mut(&bin).unwrap().targets);
    repository.delegate(&bin, "below", &["below"], &json!({ "paths": LAMP }));
    repository.move_to("below");
    let (first, again) = (format!("1.{bin}.json"), format!("again 1.{bin}.json"));
    let requests = full_and(&[SNAPSHOT, &first, SNAPSHOT, "1.below.json", TARGETS, &again]);
    accepted(&mut Subject::new(&repository), &repository, &requests, Some(3));
}

#[test]
fn bin_signed_by_another_key_is_refused() {
    let mut repository = bins(4, true);
    let [entry, _] = names(&repository, 4);
    let bin = Repository::bin(4, "bin", RELEASE);
    repository.delegated.get_mut(&bin).unwrap().signers = vec![Signer::new("release-b")];
    let unmet = Rejected::ThresholdNotMet { role: Role::Delegated, valid: 0, threshold: 1 };
    refused(&repository, &full_and(&[SNAPSHOT, &entry]), unmet);
}

#[test]
fn bins_of_another_form_are_refused() {
    type Edit = fn(&mut Value);
    let forms: [(Edit, Field); 13] = [
        (|bins| bins["bit_length"] = json!(0), Field::Delegations),
        (|bins| bins["bit_length"] = json!(33), Field::Delegations),
        (|bins| bins["bit_length"] = json!(-1), Field::Delegations),
        (|bins| bins["bit_length"] = json!("4"), Field::Delegations),
        (|bins| drop(bins.as_object_mut().unwrap().remove("bit_length")), Field::Delegations),
        (|bins| bins["name_prefix"] = json!(null), Field::Delegations),
        (|bins| drop(bins.as_object_mut().unwrap().remove("name_prefix")), Field::Delegations),
        (|bins| bins["threshold"] = json!(0), Field::Threshold),
        (|bins| drop(bins.as_object_mut().unwrap().remove("threshold")), Field::Threshold),
        (|bins| bins["keyids"] = json!("none"), Field::Roles),
        (|bins| bins["keyids"] = json!([1]), Field::Roles),
        (|bins| *bins = json!([]), Field::Delegations),
        (|bins| *bins = json!(null), Field::Delegations),
    ];
    for (form, wrong) in forms {
        let mut repository = bins(1, true);
        form(&mut repository.delegations.get_mut("targets").unwrap()["succinct_roles"]);
        refused(&repository, &FULL, field(Role::Targets, wrong));
    }
}

#[test]
fn bins_beside_a_list_of_roles_never_pass_for_a_role_of_that_list() {
    // The entry is in the first role of the list, to which no image is delegated. The image's bin is the first bin.
    let mut repository = Repository::default();
    let in_first = |version: &u32| {
        Repository::bin(1, "bin", &format!("lamp/rev-a/versions/3.{version}/lamp.bin")) == "bin-0"
    };
    let version = (0..).find(in_first).unwrap();
    repository.release(3, &format!("3.{version}"));
    repository.delegate_to_bins(1, "bin", "bins");
    let bins = repository.delegations.remove("targets").unwrap();
    repository.delegate("targets", "entries", &["entries"], &json!({ "paths": [LAMP[0]] }));
    repository.move_to("entries");
    let accepted_without = Subject::new(&repository).refresh(&repository);
    let unauthorised = Rejected::ImageNotAuthorised { sequence: 3 };
    assert_eq!(accepted_without.result, Err(unauthorised.into()));

    let delegations = repository.delegations.get_mut("targets").unwrap();
    delegations["succinct_roles"] = bins["succinct_roles"].clone();
    for (keyid, key) in bins["keys"].as_object().unwrap() {
        delegations["keys"][keyid] = key.clone();
    }
    // TAP 15: one or the other.
    refused(&repository, &FULL, field(Role::Targets, Field::Delegations));
}
