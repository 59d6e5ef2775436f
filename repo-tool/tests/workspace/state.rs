//! What the key holders' tool says of a repository that `tuffet` has published.

use tuffet_keys::Role;
use tuffet_keys::lint::Report;
use tuffet_keys::names::Names;
use tuffet_keys::published::Subject;
use tuffet_keys::root::Period;
use tuffet_keys::status::Status;

use crate::support::{Bench, DAY, NOW};

#[test]
fn status_and_lint_of_a_published_release_find_nothing_wrong() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"firmware 1.0.0");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench.image("fw.bin", b"firmware 1.1.0");
    bench.release("fw.bin", "1.1.0");
    bench.sign(2);
    let staged = Subject::read(&bench.workspace().request_path(&Role::Targets)).unwrap();
    bench.publish();
    let root = bench.holders.next_root(|draft| draft.set_period(&Role::Root, Period::new(400, 60).unwrap()));
    std::fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    bench.publish();

    let public = bench.repo().join("public");
    let subjects = [Subject::read(&public).unwrap(), staged];
    let report = Report::of(&subjects, NOW).unwrap();
    report.verdict(true).unwrap_or_else(|error| panic!("{error}\n{report}"));
    let status = |at| Status::of(&subjects, &Names::default(), at);
    status(NOW).verdict().unwrap_or_else(|error| panic!("{error}\n{}", status(NOW)));
    let shown = status(NOW).to_string();
    for role in ["root version 2", "timestamp version 3", "snapshot version", "targets version 2"] {
        assert!(shown.contains(role), "{role} is not in\n{shown}");
    }
    // The timestamp is good for a week; with a third of it left the next is due, as it is when it has expired.
    let said = |at| status(at).verdict().unwrap_err().to_string();
    assert!(status(NOW + 4 * DAY).verdict().is_ok());
    assert!(said(NOW + 5 * DAY).contains("timestamp of") && said(NOW + 5 * DAY).contains("is due"));
    assert!(said(NOW + 7 * DAY).contains("is expired"));
}
