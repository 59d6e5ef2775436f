//! Every fault of a configuration names file, line and column, and what to do.

use std::fs;

use super::setup::Setup;

const GOOD: &str = "[repository]
url = \"https://updates.example.com/\"

[device]
factory = \"factory.json\"
id = \"lamp-17\"

[slots]
state = \"state\"
a = \"a.img\"
b = \"b.img\"

[schedule]
every = \"1h\"
bytes-a-day = \"20 MiB\"

[policy]
windows = [\"Mon-Fri 01:00-05:00\", \"Sat,Sun 22:00-04:00\"]
time = \"UTC\"
health = [\"/usr/bin/true\"]
";

#[test]
fn fault_names_line_column_and_what_to_do() {
    let setup = Setup::new();
    let said = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        fs::write(setup.path("agent.toml"), GOOD.replacen(from, to, 1)).unwrap();
        let (status, text) = setup.run(&["status"]);
        assert_eq!(status, 2, "{from} -> {to}: {text}");
        text.strip_prefix("error[A523]: agent.toml:").unwrap_or(&text).trim_end().to_owned()
    };
    for (from, to, expected) in [
        (
            "url = ",
            "uri = ",
            "2:1: unknown field `uri`, expected one of `url`, `root-certificates`, `danger-allow-plain-http`",
        ),
        ("\"https://updates.example.com/\"", "\"\"", "2:7: an address like https://updates.example.com/"),
        ("id = \"lamp-17\"", "id = \"\"", "6:6: an empty id is that of every device; name this one"),
        (
            "id = \"lamp-17\"",
            "id = \"x\"\nid-file = \"y\"",
            "7:11: the device has an `id` already; leave one of the two",
        ),
        (
            "\"b.img\"",
            "\"a.img\"",
            "11:5: both slots are the same; an image would overwrite the one that runs",
        ),
        ("\"1h\"", "\"1 fortnight\"", "14:9: no duration; write it as \"90s\", \"5m\", \"1h 30m\" or \"1d\""),
        ("\"1h\"", "\"0\"", "14:9: no duration; write it as \"90s\", \"5m\", \"1h 30m\" or \"1d\""),
        ("\"20 MiB\"", "\"much\"", "15:15: no size; write it as \"500 kB\", \"20 MiB\" or \"1 GiB\""),
        (
            "Sat,Sun 22:00-04:00",
            "weekends",
            "18:35: no window; write it as \"Mon-Fri 01:00-05:00\", \"Sat,Sun 22:00-04:00\" or \"daily 02:00-03:30\"",
        ),
        (
            "\"UTC\"",
            "\"Mars/Olympus\"",
            "19:8: no such zone on this device; write \"UTC\", \"local\" or a name like \"Europe/Paris\"",
        ),
        ("[\"/usr/bin/true\"]", "[]", "20:10: a command is a list: the program, then its arguments"),
        ("[\"/usr/bin/true\"]", "\"true\"", "20:10: invalid type: string \"true\", expected a sequence"),
        (
            "[schedule]",
            "[hook]\nstate = \"s\"\nstaging = \"t\"\nsize = \"1 MiB\"\nprogram = [\"x\"]\n[schedule]",
            "13:1: images go to [slots] or through a [hook]; leave one of the two",
        ),
        (
            "[slots]\nstate = \"state\"\na = \"a.img\"\nb = \"b.img\"\n",
            "",
            "4:1: where do images go? Add [slots] or [hook]",
        ),
        ("[policy]", "[policy", "17:8: unclosed table, expected `]`"),
    ] {
        assert_eq!(said(from, to), expected, "{from} -> {to}");
    }
}

#[test]
fn configuration_is_needed_by_what_is_for_linux_devices() {
    let setup = Setup::new();
    let (status, text) = setup.run(&["--config", "none.toml", "status"]);
    assert_eq!((status, text.as_str()), (3, "error[A650]: none.toml: No such file or directory\n"));
    let (status, text) = setup.run(&["boot"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("error[A526]: a Linux device is started by its own bootloader"), "{text}");
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 3);
    assert!(text.ends_with("state: is not there; `tuffet-agent provision` sets a device up\n"), "{text}");
    fs::write(setup.path("agent.toml"), GOOD.replace("https:", "http:")).unwrap();
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 2);
    assert!(text.contains("is plain HTTP to another machine; use https://"), "{text}");
}
