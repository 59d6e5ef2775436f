//! What the factory gets: facts that compile, and a flash that a device boots from and updates itself on.

use std::fs;
use std::process::Command;

use tuffet::demo::mirror::Mirror;
use tuffet_agent::agent::{Agent, Checked, Started};
use tuffet_agent::boot::Reason;
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{Factory, Flash, FlashMap, Trust, boot};
use tuffet_client::{Clock, SOFTWARE};

use crate::support::{Bench, DAY, NOW, PUBLISH, text};

const PROVISION: [&str; 7] = ["provision", "--hardware", "rev-a", "--channel", "stable", "--out", "factory"];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&PROVISION, options].concat()
}

/// A published release 1.0.0 of the bytes in `fw.bin`, and the demo's flash map for `rev-a`.
fn published_bench() -> Bench {
    let bench = Bench::new();
    let path = bench.repo().join("tuffet.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replacen("slot-size = 4096\n", "slot-size = 4096\nflash-map = \"demo\"\n", 1))
        .unwrap();
    bench.image("fw.bin", b"firmware 1.0.0");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench
}

fn factory(root: &[u8]) -> Factory<'_> {
    Factory { root, product: "thermo", hardware: "rev-a", channel: "stable", counter: 0, built: NOW }
}

#[test]
fn facts_compile_into_a_constant_with_the_published_root() {
    let mut bench = published_bench();
    let root = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), &root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    let said = bench.ok(&PROVISION);
    assert!(said.contains("trust root 1 "), "a staged root is not published: {said}");
    fs::remove_dir_all(bench.path("factory")).unwrap();
    bench.publish();
    let said = bench.ok(&PROVISION);
    assert!(said.contains("wrote factory/factory.rs") && said.contains("trust root 2 "), "{said}");
    assert!(!bench.path("factory/device.nor").exists());

    // The real struct lives in a crate that this compiler call does not know; this is its shape.
    let program = r#"
        mod tuffet_agent {
            pub struct Factory<'a> {
                pub root: &'a [u8], pub product: &'a str, pub hardware: &'a str, pub channel: &'a str,
                pub counter: u32, pub built: u64,
            }
        }
        include!("factory/factory.rs");
        fn main() {
            assert_eq!(FACTORY.root, include_bytes!("2.root.json"));
            println!("{} {} {} {} {}", FACTORY.product, FACTORY.hardware, FACTORY.channel, FACTORY.counter,
                FACTORY.built);
        }"#;
    fs::write(bench.path("main.rs"), program).unwrap();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "-o"]).arg(bench.path("facts")).arg(bench.path("main.rs"));
    let output = compile.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = Command::new(bench.path("facts")).output().unwrap();
    assert_eq!(text(&output.stdout), format!("thermo rev-a stable 0 {NOW}\n"), "{}", text(&output.stderr));

    let facts = FactoryFile::parse(&fs::read(bench.path("factory/factory.json")).unwrap()).unwrap();
    assert_eq!(format!("{:?}", facts.factory()), format!("{:?}", factory(&root)));
}

#[test]
fn flash_boots_the_first_image_and_updates_itself_from_the_published_repository() {
    let bench = published_bench();
    bench.ok(&PROVISION);
    bench.image("first.bin", b"firmware 0.9.0");
    let said = bench.ok(&with(&["--image", "first.bin", "--version", "0.9.0"]));
    assert!(said.contains("slot A holds version 0.9.0, sequence 0"), "{said}");

    let root = bench.holders.chain[0].clone();
    let open = || {
        let nor =
            FileFlash::<4096, 4>::open_with(&bench.path("factory/device.nor"), &FlashMap::DEMO).unwrap();
        Flash::new(nor, FlashMap::DEMO).unwrap()
    };
    {
        let mut flash = open();
        let decision = boot::decide_boot(&mut flash).unwrap();
        assert_eq!(decision.reason, Reason::Active);
        assert_eq!((decision.start.version.as_str(), decision.start.sequence), ("0.9.0", 0));
        let trust = Trust::load(&mut flash, &SOFTWARE, &factory(&root)).unwrap();
        assert_eq!(trust.lost, None, "root and floors are on the flash");
        assert_eq!(trust.trusted.root().version(), 1);
    }
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    let device = || {
        let transport = HttpTransport::new(&mirror.url(), HttpOptions::default()).unwrap();
        Agent::new(open(), transport, &SOFTWARE, factory(&root), b"device-1").unwrap()
    };
    let checked = device().check(&mut || Clock::At(NOW), &mut |_| ()).unwrap();
    assert!(matches!(checked, Checked::Pending(image) if image.version == "1.0.0"));
    let started = device().boot(&mut || Clock::At(NOW), &mut |_| true, &mut |_| ()).unwrap();
    assert!(matches!(started, Started::Confirmed(image) if image.sequence == 1));
    let checked = device().check(&mut || Clock::At(NOW), &mut |_| ()).unwrap();
    assert_eq!(checked, Checked::UpToDate);
}

#[test]
fn image_that_is_a_published_release_brings_its_sequence_and_version() {
    let bench = published_bench();
    let said = bench.ok(&with(&["--image", "fw.bin"]));
    assert!(said.contains("slot A holds version 1.0.0, sequence 1"), "{said}");
}

#[test]
fn second_run_keeps_the_build_time_and_refuses_other_facts() {
    let mut bench = published_bench();
    bench.ok(&PROVISION);
    let facts = fs::read(bench.path("factory/factory.json")).unwrap();
    let source = fs::read(bench.path("factory/factory.rs")).unwrap();
    let later = bench.ok_at(NOW + DAY, &with(&["--image", "fw.bin"]));
    assert!(later.contains("later than 2026-11-22T12:00:00Z"), "{later}");
    assert_eq!(fs::read(bench.path("factory/factory.json")).unwrap(), facts);
    assert_eq!(fs::read(bench.path("factory/factory.rs")).unwrap(), source);

    let message = bench.fails(&with(&["--counter", "1"]), 1, "T125");
    assert!(message.contains("another `counter` stands in factory/factory.json"), "{message}");
    let other = ["provision", "--hardware", "rev-a", "--channel", "beta", "--out", "factory"];
    bench.fails(&other, 1, "T125");
    let root = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    bench.publish();
    let message = bench.fails(&PROVISION, 1, "T125");
    assert!(message.contains("another `root`"), "{message}");
    fs::write(bench.path("factory/factory.json"), "{").unwrap();
    bench.fails(&PROVISION, 1, "T127");
}

#[test]
fn order_that_makes_no_device_is_refused_and_writes_nothing() {
    let bench = published_bench();
    bench.image("new.bin", b"no release");
    bench.image("large.bin", &[0; 4097]);
    bench.image("empty.bin", b"");
    let to =
        |hardware, channel| ["provision", "--hardware", hardware, "--channel", channel, "--out", "factory"];
    bench.fails(&to("rev-c", "stable"), 1, "T105");
    bench.fails(&to("rev-a", "Stable"), 2, "T203");
    bench.fails(&[&to("rev-b", "stable")[..], &["--image", "new.bin", "--version", "1"]].concat(), 2, "T205");
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--image", "new.bin"], 2, "T205"),
        (&["--image", "new.bin", "--version", "a\"b"], 2, "T203"),
        (&["--image", "large.bin", "--version", "1"], 1, "T102"),
        (&["--image", "empty.bin", "--version", "1"], 1, "T103"),
        (&["--image", "missing.bin", "--version", "1"], 3, "T301"),
        (&["--image", "new.bin", "--version", "1", "--flash-map", "moon"], 1, "T123"),
        (&["--flash-map", "moon"], 1, "T123"),
        (&["--image", "fw.bin", "--counter", "3"], 1, "T126"),
        (&["--image", "fw.bin", "--flash-map", ""], 1, "T123"),
    ];
    for (options, status, label) in cases {
        bench.fails(&with(options), status, label);
    }
    let path = bench.repo().join("tuffet.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("4096", "262145")).unwrap();
    bench.fails(&with(&["--image", "fw.bin"]), 1, "T124");
    bench.ok(&PUBLISH);
}
