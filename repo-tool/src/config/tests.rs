use super::*;

/// A policy with a product without hardware.
fn config(product: &str) -> Config {
    let mut config = Config { root_1_sha256: Some("0a".repeat(32)), ..Config::new() };
    config.add_product(product).unwrap();
    config
}

fn hardware(slot_size: u32, flash_map: Option<&str>) -> Hardware {
    Hardware { slot_size, flash_map: flash_map.map(str::to_owned) }
}

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("t"))
}

fn length(text: &str) -> Length {
    Length::parse(text).unwrap()
}

#[test]
fn text_of_a_configuration_reads_back_as_the_same() {
    let mut config = config("thermo-2.x");
    assert_eq!(parse(&config.to_text()).unwrap(), config);
    let product = config.products.get_mut("thermo-2.x").unwrap();
    product.add_hardware("rev-a", hardware(1, None)).unwrap();
    product.add_hardware("rev.b", hardware(u32::MAX, Some("demo"))).unwrap();
    product.channels = vec!["stable".to_owned(), "beta".to_owned()];
    product.role = Some(Delegate {
        name: "thermo".to_owned(),
        keys: vec!["keys/a.pem".into(), "keys/b.pem".into()],
        threshold: 2,
        term: Term { expires: length("90d"), signing: length("2 weeks") },
        bins: Some(14),
    });
    config.add_product("lamp").unwrap();
    config.terms.insert(Role::Timestamp, Term { expires: length("1d"), signing: length("6h") });
    config.storage = Storage { url: "s3://bucket/prefix".to_owned(), danger_allow_plain_http: true };
    config.retention = Retention { images: length("1 year"), grace: length("30d") };
    config.devices.set("root-file=8192").unwrap();
    assert_eq!(parse(&config.to_text()).unwrap(), config);
}

#[test]
fn comments_in_a_new_file_are_valid_when_uncommented() {
    let text = config("p").to_text();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.starts_with('[') || setting.contains(" = ") => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let read = parse(&uncommented).unwrap_or_else(|error| panic!("{error}\n{uncommented}"));
    assert_eq!(read.find(None, "rev-a").unwrap(), ("p", &hardware(262_144, Some("demo"))));
    assert_eq!(read.storage, Storage::default());
    assert_eq!(read.retention, Retention::default());
    assert_eq!(read.term(&Role::Snapshot, None), Term::of(&Periods::default(), &Role::Snapshot));
    assert_eq!(read.products["p"].role.as_ref().unwrap().threshold, 2);
}

#[test]
fn term_that_is_not_written_is_the_root_s_and_then_the_default() {
    let config = config("p");
    let term = config.term(&Role::Timestamp, None);
    assert_eq!(term.expires.after(0).unwrap(), 7 * 86_400);
    assert_eq!(term.due(7 * 86_400), 5 * 86_400);
    assert_eq!(config.term(&Role::Targets, None).expires.after(0).unwrap(), 180 * 86_400);
}

#[test]
fn faults_are_told_with_their_line_and_column() {
    let head = format!("format = 1\nroot-1-sha256 = \"{}\"\n[products.p]\n", "0a".repeat(32));
    let role = "[products.p.role]\nkeys = [\"a\", \"b\"]\nthreshold = 2\n";
    for (text, place, what) in [
        ("chanels = []\n".to_owned(), "t:4:1: ", "unknown field `chanels`"),
        ("channels = [\"stable\", \"Beta\"]\n".to_owned(), "t:4:23: ", "`Beta` cannot be a channel"),
        ("[products.p.hardware.a]\nslot-size = 0\n".to_owned(), "t:5:13: ", "a slot of 0 bytes"),
        (role.replace("= 2", "= 3"), "t:6:13: ", "1 to 2 of them"),
        (role.replace("= 2", "= 0"), "t:6:13: ", "1 to 2 of them"),
        (role.replace("[\"a\", \"b\"]", "[]"), "t:5:8: ", "a role needs keys"),
        (format!("{role}name = \"targets\"\n"), "t:7:8: ", "a top-level role has this name"),
        (format!("{role}bins = 15\n"), "t:7:8: ", "1 to 14"),
        (format!("{role}expires = \"soon\"\n"), "t:7:11: ", "not a duration"),
        (format!("{role}expires = \"5d\"\nsigning = \"5d\"\n"), "t:8:11: ", "shorter than expires"),
        (
            format!("[products.q]\n{role}[products.q.role]\nname = \"p\"\nkeys = [\"a\"]\nthreshold = 1\n"),
            "t:4:11: ",
            "another product has the role p",
        ),
        ("[roles.timestamp]\nexpires = \"1d\"\n".to_owned(), "", ""),
        ("[roles.timestamp]\nsigning = \"8d\"\n".to_owned(), "t:5:11: ", "shorter than expires, which is 7d"),
        ("[devices]\nkeys = 99\n".to_owned(), "t:5:1: ", "keys=99"),
        ("[devices]\nkeys = [\"a\"]\n".to_owned(), "t:5:8: ", "a limit is a number"),
        (
            "[devices]\nschemes = [\"ed25519\"]\n".to_owned(),
            "t:5:11: ",
            "ecdsa-sha2-nistp256 and nothing else",
        ),
        ("[storage]\nurl = \"\"\n".to_owned(), "t:5:7: ", "s3://BUCKET/PREFIX"),
        ("[retention]\ngrace = \"never\"\n".to_owned(), "t:5:9: ", "not a duration"),
        (format!("{role}bins = 4\n"), "t:7:8: ", "bins need the channels"),
    ] {
        let read = parse(&format!("{head}{text}"));
        if place.is_empty() {
            read.unwrap();
            continue;
        }
        let message = read.unwrap_err().to_string();
        assert!(message.starts_with(place) && message.contains(what), "{text}: {message}");
    }
}

#[test]
fn hardware_of_several_products_must_be_told_apart() {
    let mut config = config("p");
    config.products.get_mut("p").unwrap().add_hardware("rev-a", hardware(1, None)).unwrap();
    assert_eq!(config.find(None, "rev-a").unwrap().0, "p");
    config.add_product("q").unwrap().add_hardware("rev-a", hardware(2, None)).unwrap();
    assert!(matches!(config.find(None, "rev-a"), Err(Error::Misuse(Misuse::WhichProduct { .. }))));
    assert_eq!(config.find(Some("q"), "rev-a").unwrap().1.slot_size, 2);
    assert!(matches!(config.find(Some("r"), "rev-a"), Err(Error::Rejected(Rejected::UnknownProduct { .. }))));
    assert!(matches!(config.find(None, "rev-b"), Err(Error::Rejected(Rejected::UnknownHardware { .. }))));
}

#[test]
fn role_of_a_path_is_the_product_s_or_its_bin_s() {
    let mut config = config("p");
    assert_eq!(config.role_of("p/a/stable/release"), Role::Targets);
    let delegate = |bins| Delegate {
        name: "team".to_owned(),
        keys: Vec::new(),
        threshold: 1,
        term: Term::default(),
        bins,
    };
    config.products.get_mut("p").unwrap().role = Some(delegate(None));
    assert_eq!(config.role_of("p/a/stable/release"), Role::Delegated("team".to_owned()));
    assert_eq!(config.role_of("q/a/stable/release"), Role::Targets);
    config.products.get_mut("p").unwrap().role = Some(delegate(Some(10)));
    // The digest of docs/format.md, which begins with d298b3ef.
    let bin = config.role_of("p/rev-a/stable/release");
    assert_eq!(bin.name().len(), "team.bin-000".len());
    assert_eq!(config.delegate(&bin).unwrap().name, "team");
    assert_eq!(config.delegate(&Role::Delegated("team.bin-3ff".to_owned())).unwrap().name, "team");
    assert_eq!(config.delegate(&Role::Delegated("team.bin-400".to_owned())), None);
    assert_eq!(bin_of("bin", 10, "lamp/rev-a/stable/release"), "bin-34a");
}

#[test]
fn length_that_is_no_duration_is_refused() {
    for good in ["30d", "12 hours", "1 year", "in 2 weeks", "1d 12h"] {
        assert!(Length::parse(good).is_some(), "{good}");
    }
    for bad in ["", "0d", "-3d", "2027-01-01", "2027-01-01T00:00:00Z", "soon", "30"] {
        assert!(Length::parse(bad).is_none(), "{bad}");
    }
    assert_eq!(length("8000 years").after(1_795_348_800), Err(Rejected::Exhausted { what: "date" }.into()));
}

#[test]
fn hardware_twice_or_without_a_slot_is_refused() {
    let mut product = Product::default();
    product.add_hardware("rev-a", hardware(1, None)).unwrap();
    let again = product.add_hardware("rev-a", hardware(1, None));
    assert!(matches!(again, Err(Error::Misuse(Misuse::Options { .. }))));
    let empty = product.add_hardware("rev-b", hardware(0, None));
    assert!(matches!(empty, Err(Error::Misuse(Misuse::Options { .. }))));
    let nameless = product.add_hardware("", hardware(1, None));
    assert!(matches!(nameless, Err(Error::Misuse(Misuse::BadName { .. }))));
}
