use std::fs;

use serde_json::json;

use super::*;
use crate::canonical;
use crate::uri::KeyUri;

/// 2026-11-22T13:14:15Z.
const NOW: u64 = 1_795_353_255;

/// What the first entry of [`repository`] follows.
const START: &str = "d5030423942410e05cc819b9a8bbe091757c56bc0a564383c493d7d3e9b86b36";
/// The head of one entry of version 0.1.0 of the tool.
const HEAD: &str = "5fe91ea0460d4d941988bba3e20cb6127ee3f77e05e6c10d22beb684e9c9eed5";

fn repository() -> String {
    "5e".repeat(32)
}

fn terms() -> Terms {
    Terms { repository: repository(), recorded: Vec::new() }
}

fn act(action: Action, version: u32) -> Act {
    Act { action, role: Role::Root, version, sha256: format!("{version:064x}") }
}

fn signed(source: Source) -> Action {
    Action::Sign { keyid: "c4".repeat(32), source }
}

/// Everything that can be done, once.
fn acts() -> Vec<Act> {
    let signed = Source::ALL.map(signed);
    let all = [vec![Action::Draft], signed.to_vec(), vec![Action::Finish, Action::Trust]].concat();
    let next = [Action::Next, Action::Revoke];
    all.into_iter()
        .map(|action| act(action, 1))
        .chain(next.into_iter().map(|action| act(action, 2)))
        .collect()
}

/// The file of [`acts`].
fn written() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    for act in acts() {
        append(&path, &terms(), &[act], NOW).unwrap();
    }
    fs::read(&path).unwrap()
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Whoever was told the head of the file accepts these bytes.
fn accepted(bytes: &[u8], head: &Head) -> bool {
    Transcript::from_bytes(bytes).and_then(|transcript| transcript.check_head(&head.sha256)).is_ok()
}

fn broken(bytes: &[u8]) -> (usize, String) {
    match Transcript::from_bytes(bytes).unwrap_err() {
        Error::Rejected { why: Rejected::TranscriptBroken { entry, why }, .. } => (entry, why),
        other => panic!("{other}"),
    }
}

/// The digests were computed by `sha256sum`, of the text and of the line.
#[test]
fn transcript_of_one_entry_has_the_bytes_and_digests_that_others_compute() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    let head = append(&path, &terms(), &[act(signed(Source::Token), 1)], NOW).unwrap();
    let line = concat!(
        "{\"action\":\"sign\",\"before\":\"START\",\"entry\":1,\"format\":1,",
        "\"keyid\":\"c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4\",",
        "\"repository\":\"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\",",
        "\"role\":\"root\",\"sha256\":\"0000000000000000000000000000000000000000000000000000000000000001\",",
        "\"source\":\"token\",\"time\":\"2026-11-22T13:14:15Z\",\"tool\":\"TOOL\",\"version\":1}\n"
    );
    let tool = concat!("tuffet-keys ", env!("CARGO_PKG_VERSION"));
    let line = line.replace("START", START).replace("TOOL", tool);
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
    assert_eq!(start(&repository()), START);
    if tool == "tuffet-keys 0.1.0" {
        assert_eq!(head, Head { entries: 1, sha256: HEAD.to_owned() });
    }
}

#[test]
fn transcript_of_everything_reads_back_with_each_line_after_the_one_before() {
    let bytes = written();
    let transcript = Transcript::from_bytes(&bytes).unwrap();
    let read: Vec<Act> = transcript.entries().iter().map(|entry| entry.act.clone()).collect();
    assert_eq!(read, acts());
    let mut before = start(&repository());
    for (line, entry) in lines(&bytes).into_iter().zip(transcript.entries()) {
        assert_eq!((&entry.before, entry.time), (&before, NOW));
        before = sha256_hex(&line[..line.len() - 1]);
    }
    assert_eq!(transcript.head(), Head { entries: 9, sha256: before });
    // All at once is the same.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    assert_eq!(append(&path, &terms(), &acts(), NOW).unwrap(), transcript.head());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn transcript_with_any_bit_changed_is_refused_against_its_head() {
    let bytes = written();
    let head = Transcript::from_bytes(&bytes).unwrap().head();
    assert!(accepted(&bytes, &head));
    let last = bytes.len() - lines(&bytes).last().unwrap().len();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            assert!(!accepted(&changed, &head), "bit {bit} of byte {index}");
            // Before the last entry the chain itself tells.
            assert!(index >= last || Transcript::from_bytes(&changed).is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn transcript_cut_anywhere_is_refused_against_its_head() {
    let bytes = written();
    let head = Transcript::from_bytes(&bytes).unwrap().head();
    for length in 0..bytes.len() {
        let (cut, whole) = (&bytes[..length], length > 0 && bytes[length - 1] == b'\n');
        assert!(!accepted(cut, &head), "{length} bytes");
        // A whole line was an end once, and only the head tells.
        assert_eq!(Transcript::from_bytes(cut).is_ok(), whole, "{length} bytes");
    }
    let lines = lines(&bytes);
    assert_eq!(broken(&bytes[..bytes.len() - 1]), (9, "it has no end: the file was cut off".to_owned()));
    assert_eq!(broken(b""), (1, "the file is empty".to_owned()));
    let shorter = Transcript::from_bytes(&lines[..8].concat()).unwrap();
    let error = Transcript::from_bytes(&bytes).unwrap().check_head(&shorter.head().sha256).unwrap_err();
    assert!(error.to_string().contains("the head that was given is that of entry 8; up to there"), "{error}");
}

#[test]
fn transcript_with_a_line_gone_doubled_or_swapped_is_refused_at_its_entry() {
    let bytes = written();
    let lines = lines(&bytes);
    let head = Transcript::from_bytes(&bytes).unwrap().head();
    for index in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(index);
        assert!(!accepted(&fewer.concat(), &head));
        if index + 1 < lines.len() {
            let expected = (index + 1, format!("entry {} stands in its place", index + 2));
            assert_eq!(broken(&fewer.concat()), expected);
        }
        let mut more = lines.clone();
        more.insert(index, lines[index]);
        assert_eq!(broken(&more.concat()), (index + 2, format!("entry {} stands in its place", index + 1)));
        for other in index + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(index, other);
            assert_eq!(broken(&swapped.concat()).0, index + 1);
        }
        let mut blank = lines.clone();
        blank.insert(index, b"\n");
        assert_eq!(broken(&blank.concat()).0, index + 1);
    }
}

/// A line with members changed, and its own digests set right as a forger would.
fn forged(line: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = canonical::parse_signed(line.trim_ascii_end()).unwrap();
    change(&mut value);
    [canonical::signed_bytes(&value).unwrap(), b"\n".to_vec()].concat()
}

#[test]
fn entry_of_another_form_is_refused_by_what_is_wrong() {
    let bytes = written();
    let first = lines(&bytes)[0];
    let second = lines(&bytes)[1];
    let cases: [(&str, Value, &str); 15] = [
        ("format", json!(2), "its format 2 is for a newer tuffet-keys"),
        ("format", json!("1"), "it has members that no entry has"),
        ("action", json!("undo"), "`action` is missing or is not an action that is known here"),
        ("before", json!("5e".repeat(32)), "it does not begin the transcript of its repository"),
        ("entry", json!(2), "entry 2 stands in its place"),
        ("entry", json!(0), "`entry` is missing"),
        ("role", json!(""), "`role` is missing"),
        ("version", json!(1_u64 << 32), "`version` is missing"),
        ("sha256", json!("5E".repeat(32)), "`sha256` is missing"),
        ("time", json!("2026-11-22"), "`time` is missing"),
        ("tool", json!(""), "`tool` is missing"),
        ("tool", json!("\u{7f}"), "`tool` is missing"),
        ("tool", json!("x".repeat(65)), "`tool` is missing"),
        // Only a signature has a key.
        ("keyid", json!("c4".repeat(32)), "it has members that no entry has"),
        ("path", json!("/media/stick/root-a.pem"), "it has members that no entry has"),
    ];
    for (name, value, says) in cases {
        let (entry, why) = broken(&forged(first, |entry| entry[name] = value));
        assert!(entry == 1 && why.starts_with(says), "{name}: {why}");
    }
    for (name, says) in [("source", "`source` is missing"), ("keyid", "`keyid` is missing")] {
        let odd = forged(second, |entry| entry[name] = json!("/media/stick/root-a.pem"));
        let (entry, why) = broken(&[first, &odd].concat());
        assert!(entry == 2 && why.starts_with(says), "{name}: {why}");
    }
    let other = forged(second, |entry| entry["repository"] = json!("00".repeat(32)));
    assert_eq!(
        broken(&[first, &other].concat()),
        (2, "it is of another repository than the first".to_owned())
    );
    assert_eq!(broken(&[b" ", first].concat()).0, 1, "not canonical");
}

#[test]
fn transcript_that_somebody_wrote_anew_has_another_head_and_is_not_the_recorded_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    let true_one = Transcript::from_bytes(&written()).unwrap();
    // He leaves out that the token signed, and keeps the rest.
    let mut fewer = acts();
    fewer.remove(3);
    append(&path, &terms(), &[fewer, vec![act(Action::Finish, 2)]].concat(), NOW).unwrap();
    let anew = Transcript::read(&path).unwrap();
    assert_eq!(anew.head().entries, true_one.head().entries);
    assert!(matches!(
        anew.check_head(&true_one.head().sha256).unwrap_err(),
        Error::Rejected { why: Rejected::OtherHead { earlier: None, .. }, .. }
    ));
    for entries in 1..=9_u32 {
        let sha256 = true_one.digests[entries as usize - 1].clone();
        let (record, found) = (Head { entries, sha256 }, 9);
        let checked = anew.check_record(2, &record);
        match entries {
            1..=3 => checked.unwrap(),
            _ => {
                let refused = Rejected::NotTheRecorded { root: 2, entries, found };
                assert_eq!(checked.unwrap_err(), refused.into());
            }
        }
        true_one.check_record(2, &record).unwrap();
    }
    let beyond = Head { entries: 10, sha256: true_one.head().sha256 };
    assert!(true_one.check_record(2, &beyond).is_err());
    assert!(true_one.check_record(2, &Head { entries: 0, ..beyond }).is_err());
}

#[test]
fn append_to_what_does_not_verify_or_is_not_the_one_leaves_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    let good = written();
    let bytes = lines(&good);
    let recorded = |entries, sha256: &str| Terms {
        recorded: vec![(2, Head { entries, sha256: sha256.to_owned() })],
        ..terms()
    };
    let head = Transcript::from_bytes(&good).unwrap().head();
    let right = recorded(head.entries, &head.sha256);
    let other = Terms { repository: "00".repeat(32), ..terms() };
    let finish = [act(Action::Finish, 2)];
    for (there, terms, code) in [
        (&b""[..], terms(), 150),
        (&good[..good.len() - 1], terms(), 150),
        (&bytes[1..].concat(), terms(), 150),
        (b"{\"_type\":\"tuffet-signing-request\"}\n", terms(), 150),
        (&good, other, 152),
        (&good, recorded(9, &"00".repeat(32)), 153),
        (&bytes[..8].concat(), right.clone(), 153),
    ] {
        fs::write(&path, there).unwrap();
        for error in
            [append(&path, &terms, &finish, NOW).unwrap_err(), super::head(&path, &terms).unwrap_err()]
        {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), there);
    }
    // One that a root records and that is not there is not begun anew.
    fs::remove_file(&path).unwrap();
    assert_eq!(append(&path, &right, &finish, NOW).unwrap_err().code(), 153);
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    fs::write(&path, &good).unwrap();
    assert_eq!(super::head(&path, &right).unwrap(), Some(head));
    assert_eq!(append(&path, &right, &finish, NOW).unwrap().entries, 10);
    assert!(fs::read(&path).unwrap().starts_with(&good));
}

#[test]
fn append_by_many_at_once_keeps_every_entry_and_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    std::thread::scope(|scope| {
        for writer in 1..=4 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..20 {
                    let both = [act(signed(Source::File), writer), act(Action::Finish, writer)];
                    append(path, &terms(), &both, NOW).unwrap();
                }
            });
        }
    });
    let transcript = Transcript::read(&path).unwrap();
    assert_eq!(transcript.head().entries, 160);
    for writer in 1..=4 {
        assert_eq!(transcript.entries().iter().filter(|entry| entry.act.version == writer).count(), 40);
    }
    // What is appended together stays together.
    assert!(transcript.entries().chunks(2).all(|both| both[0].act.version == both[1].act.version));
}

#[test]
fn head_is_read_however_it_was_read_aloud() {
    let digest = "0cdee7f305e84b047d546e60f6d970a8f568f1b28e4e6304cde4a676ac190ece";
    let head = Head { entries: 1, sha256: digest.to_owned() };
    let groups = "0cdee7f3 05e84b04 7d546e60 f6d970a8 f568f1b2 8e4e6304 cde4a676 ac190ece";
    assert_eq!(head.to_string(), format!("1 entry, head sha256 {groups}"));
    for text in [digest, groups, &groups.to_uppercase(), &format!(" {digest}\n")] {
        assert_eq!(parse_head(text).unwrap(), digest);
    }
    for text in ["", &digest[1..], &format!("{digest}0"), &digest.replace('c', "g")] {
        assert_eq!(parse_head(text).unwrap_err(), Misuse::NotAHead { length: text.len() }.into());
    }
}

#[test]
fn source_of_a_key_is_its_kind_and_nothing_of_its_place() {
    for (uri, source, name) in [
        ("/media/stick/root-a.pem", Source::File, "file"),
        ("file:root-a.pem", Source::File, "file"),
        ("env:ROOT_A", Source::Variable, "variable"),
        ("pkcs11:token=ceremony;object=root-a", Source::Token, "token"),
    ] {
        let uri = KeyUri::parse(uri.as_ref()).unwrap();
        assert_eq!((Source::of(&uri), Source::of(&uri).name()), (source, name));
    }
}
