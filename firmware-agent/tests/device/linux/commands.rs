//! From a blank machine to an updated one, by hand.

use core::net::Ipv4Addr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use rustls::{ServerConnection, StreamOwned};

use super::setup::{Setup, image, now, until};
use crate::authority;
use crate::bundle::{contents, encode};
use crate::repository::{DAY, Release};

#[test]
fn device_is_set_up_updated_tried_and_confirmed() {
    let setup = Setup::provisioned("");
    let (status, text) = setup.run(&["provision", "--image", "first.img", "--version", "0.9.0"]);
    assert_eq!((status, text.starts_with("error[A527]")), (1, true), "{text}");
    assert_eq!(setup.boot(), "a active");
    let pending = "pending: 1.0.0 (sequence 7) in slot B; restart to try it\n";
    let (status, text) = setup.run(&["--once"]);
    assert_eq!((status, text.starts_with(pending)), (0, true), "{text}");
    assert!(text.contains("release 7 (1.0.0), 1500000 bytes\ndownloads: 10 %\n"), "{text}");
    assert_eq!(fs::read(setup.path("b.img")).unwrap()[..1_500_000], image());

    let state = setup.status();
    assert_eq!(state["active"]["version"], "0.9.0");
    assert_eq!((&state["trial"]["sequence"], &state["trial"]["tries_left"]), (&7.into(), &3.into()));
    assert_eq!(setup.boot(), "b trial");
    let confirmed = "confirmed: 1.0.0 (sequence 7) in slot B\nup to date\n";
    assert_eq!(setup.run(&["once"]), (0, confirmed.to_owned()));
    assert_eq!(setup.boot(), "b active");
    let state = setup.status();
    assert_eq!((&state["active"]["slot"], &state["trial"]), (&"B".into(), &serde_json::Value::Null));
    assert_eq!(state["security_counter"], 3);
    let (status, text) = setup.run(&["status"]);
    assert_eq!(status, 0);
    assert!(
        text.starts_with("active: 1.0.0 (sequence 7) in slot B\nlast trial: sequence 7, Confirmed\n"),
        "{text}"
    );
}

#[test]
fn bundle_is_installed_without_a_network() {
    let setup = Setup::provisioned("");
    fs::write(setup.path("lamp.bundle"), encode(&contents(&setup.repository, 1))).unwrap();
    let (status, text) = setup.run(&["bundle", "lamp.bundle"]);
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");
    assert!(setup.server.requests.lock().unwrap().is_empty());
    assert_eq!(setup.boot(), "b trial");
    let (status, text) = setup.run(&["bundle", "lamp.bundle"]);
    assert_eq!((status, text.as_str()), (0, "confirmed: 1.0.0 (sequence 7) in slot B\nup to date\n"));
    fs::write(setup.path("text"), "{}").unwrap();
    let (status, text) = setup.run(&["bundle", "text"]);
    assert_eq!(
        (status, text.as_str()),
        (1, "error[A420]: text: this is no bundle; `tuffet bundle` writes one\n")
    );
}

#[test]
fn image_that_is_not_the_signed_one_is_refused() {
    let setup = Setup::provisioned("");
    let file = setup.repository.releases[0].file();
    setup.server.files.lock().unwrap().get_mut(&file).unwrap()[1_000_000] ^= 1;
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.ends_with("error[A404]: the image's SHA-256 is not the signed one\n"), "{text}");
    assert_eq!(setup.boot(), "a active");
    assert!(fs::read(setup.path("b.img")).unwrap()[..256 * 1024].iter().all(|byte| *byte == 0), "not erased");
}

#[test]
fn policy_waits_for_a_window_then_for_consent_then_for_a_command() {
    let policy = |window: &str| {
        format!(
            "[policy]\ntime = \"UTC\"\nwindows = [\"{window}\"]\nconsent = \"consent\"\nmay-install = [\"./ask\"]\n"
        )
    };
    // 1970-01-01 was a Thursday.
    let today = ((now() / DAY + 3) % 7) as usize;
    let day = |ahead: usize| ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][(today + ahead) % 7];
    let setup = Setup::provisioned(&policy(&format!("{} 00:00-24:00", day(3))));
    setup.script("ask", "echo \"$TUFFET_VERSION $TUFFET_SEQUENCE\" >> asked\ntest -e yes\n");
    let staged = "downloaded: 1.0.0 (sequence 7) in slot B; it may not be installed yet\n";
    let waits = |because: &str| {
        let (status, text) = setup.run(&["once"]);
        assert_eq!((status, text.starts_with(staged)), (0, true), "{text}");
        let line = format!("1.0.0 is not installed now: {because}");
        assert!(text.contains(&line), "{text}");
    };
    waits("no maintenance window is open\n");
    assert_eq!(setup.boot(), "a active");
    // Around midnight the next day is as good.
    setup.configure(&policy(&format!("{},{} 00:00-24:00", day(0), day(1))));
    waits("there is no consent: consent is not there\n");
    fs::write(setup.path("consent"), "").unwrap();
    waits("./ask says no (status 1)\n");
    fs::write(setup.path("yes"), "").unwrap();
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");
    assert_eq!(fs::read_to_string(setup.path("asked")).unwrap(), "1.0.0 7\n".repeat(2));
    let fetched =
        setup.server.requests.lock().unwrap().iter().filter(|(path, _)| path.ends_with(".bin")).count();
    assert_eq!(fetched, 1, "the image came once");
}

#[test]
fn image_that_is_not_healthy_is_given_up() {
    let mut setup = Setup::provisioned("[policy]\nhealth = [\"./health\"]\n");
    setup.script("health", "echo said why >&2\nexit 1\n");
    assert_eq!(setup.run(&["once"]).0, 0);
    assert_eq!(setup.boot(), "b trial");
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("reverted: 1.0.0")), (0, true), "{text}");
    assert!(text.contains("1.0.0 is not healthy: ./health ended with status 1\n"), "{text}");
    // The slot that would be written next is the one that runs still.
    let slot = fs::read(setup.path("b.img")).unwrap();
    let (status, text) = setup.run(&["once"]);
    assert_eq!(
        (status, text.as_str()),
        (3, "error[A612]: the image that runs was given up; restart the device\n")
    );
    assert!(fs::read(setup.path("b.img")).unwrap() == slot);
    assert_eq!(setup.boot(), "a active");
    let (_, text) = setup.run(&["once"]);
    assert!(text.contains("release 7 is passed over: its image failed here before\n"), "{text}");
    assert_eq!(setup.status()["failures"][0]["sequence"], 7);

    setup.publish(Release { sequence: 8, counter: 3, version: "1.0.1", image: vec![8; 70_000] });
    assert_eq!(setup.run(&["once"]).0, 0);
    assert_eq!(setup.boot(), "b trial");
    setup.script("health", "sleep 60\n");
    setup.configure("[policy]\nhealth = [\"./health\"]\ndeadline = \"1s\"\n");
    let (_, text) = setup.run(&["once"]);
    assert!(text.contains("1.0.1 is not healthy: ./health did not end in 1 s\n"), "{text}");
}

#[test]
fn kill_in_the_middle_of_a_download_costs_a_block_and_no_more() {
    let setup = Setup::provisioned("");
    *setup.server.stall.lock().unwrap() = Some(900_000);
    let mut child = setup.command(&["once"]).spawn().unwrap();
    // Three whole blocks of 256 KiB are on the disk then.
    until("a download that stalls", || {
        let slot = fs::read(setup.path("b.img")).unwrap();
        slot.get(786_400..786_432) == image().get(786_400..786_432)
    });
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(setup.boot(), "a active");
    *setup.server.stall.lock().unwrap() = None;
    setup.server.requests.lock().unwrap().clear();
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");
    let requests = setup.server.requests.lock().unwrap().clone();
    let from: Vec<usize> =
        requests.iter().filter(|(path, _)| path.ends_with(".bin")).map(|(_, from)| *from).collect();
    assert_eq!(from, [2 * 256 * 1024], "behind what was there, but for the block that may be torn");
    assert_eq!(setup.boot(), "b trial");
}

#[test]
fn server_that_cannot_prove_who_it_is_is_an_error_of_its_own() {
    let setup = Setup::provisioned("");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, files) = (authority::make(setup.folder.path()), setup.server.files.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let lines: Vec<String> = BufReader::with_capacity(1, &mut tls)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { continue };
            let body = files.lock().unwrap().get(path.trim_start_matches('/')).cloned();
            let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
            let body = body.unwrap_or_default();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = tls.write_all(&[head.as_bytes(), &body].concat());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    let slots = "[slots]\nstate = \"state\"\na = \"a.img\"\nb = \"b.img\"\nsize = \"2 MiB\"\n";
    let once = |host: &str, authority: &str| {
        let url = format!("https://{host}:{port}/\"\nroot-certificates = \"{authority}");
        setup.configure_with(slots, &url, "");
        setup.run(&["once"])
    };
    let untrusted = "error[A624]: 2.root.json: no secure connection: check the server's certificate, its name, and the \
                     device's clock\n";
    assert_eq!(once("localhost", "other.pem"), (3, untrusted.to_owned()), "another authority");
    assert_eq!(once("127.0.0.1", "ca.pem"), (3, untrusted.to_owned()), "another name");
    let (status, text) = once("localhost", "server.key");
    assert_eq!(
        (status, text.contains("the root certificates are no certificates in PEM")),
        (2, true),
        "{text}"
    );
    let (status, text) = once("localhost", "ca.pem");
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");
}
