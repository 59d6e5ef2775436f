//! Servers that are there, that are not, and that do not keep their word.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::net::TcpListener;

use hyper::Method;
use object_store::aws::AmazonS3Builder;
use object_store::{Attribute, ObjectStoreExt};
use tuffet::storage::{Content, Unwatched};
use tuffet::store::{Access, Settings, Store, open};
use tuffet::{Environment, Error, Misuse};

use crate::careless::{Careless, Fault};
use crate::seaweed::{BUCKET, seaweed, settings};
use crate::support::{Place, file, read};

const PLACE: &str = "s3://releases/product";

/// Opens the repository of a server that was honest when it was probed.
fn publisher(server: &Careless, fault: Fault) -> Box<dyn Store> {
    let store = open(PLACE, Access::Write, &settings(&server.endpoint)).unwrap();
    let mut state = server.state();
    assert!(state.objects.is_empty(), "{:?}", state.objects);
    state.requests.clear();
    state.fault = Some(fault);
    store
}

fn writes(server: &Careless) -> usize {
    server.state().requests.iter().filter(|(method, _)| *method == Method::PUT).count()
}

/// Asserts that an error is one of the server's, and that it tells the way out once. Gives its text.
fn assert_server<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else { panic!("it was done") };
    assert!(matches!(error, Error::Environment(Environment::Server { .. })), "{error:?}");
    let text = error.to_string();
    assert_eq!((error.label().as_str(), text.matches("; ").count()), ("T307", 1), "{text}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn probe_of_an_honest_server_leaves_nothing_and_reading_needs_none() {
    let server = Careless::serve(None);
    open(PLACE, Access::Write, &settings(&server.endpoint)).unwrap();
    assert!(server.state().objects.is_empty());
    let keys: Vec<String> = server.state().requests.drain(..).map(|(_, key)| key).collect();
    let probes = keys.iter().filter(|key| key.starts_with("product/.tuffet-probe-")).count();
    assert_eq!(probes, keys.len() - 1, "all but the list: {keys:?}");

    let store = open(PLACE, Access::Read, &settings(&server.endpoint)).unwrap();
    assert_eq!(store.read("timestamp.json", 100).unwrap(), None);
    assert_eq!(writes(&server), 0);
    // Whoever writes all the same, probes first.
    server.state().fault = Some(Fault::IgnoresIfMatch);
    let refused = store.create(&[file("1.root.json", "root")], &mut Unwatched);
    assert!(matches!(refused, Err(Error::Environment(Environment::Unconditional { .. }))), "{refused:?}");
    assert!(server.state().objects.is_empty());
}

#[test]
fn probe_of_a_server_that_breaks_its_word_says_how_and_touches_no_repository() {
    for (fault, says) in [
        (Fault::IgnoresIfNoneMatch, "ignores If-None-Match"),
        (Fault::IgnoresIfMatch, "ignores If-Match"),
        (Fault::RefusesIfMatch, "refuses If-Match with the ETag that it gave"),
        (Fault::GivesNoETag, "gives no ETag"),
        (Fault::GivesOneETag, "gives the same ETag to other bytes"),
        (Fault::ListsNothing, "does not list what was just written"),
        (Fault::ForgetsWrites, "overwrites an object that is there"),
        (Fault::KeepsWhatIsDeleted, "still shows an object that was deleted"),
    ] {
        let server = Careless::serve(Some(fault));
        server.state().objects.insert("product/timestamp.json".to_owned(), b"1".to_vec());
        let before = server.state().objects.clone();
        let error = open(PLACE, Access::Write, &settings(&server.endpoint)).err().expect("it is refused");
        let text = error.to_string();
        assert!(matches!(error, Error::Environment(Environment::Unconditional { .. })), "{fault:?}: {text}");
        assert!(text.contains(says), "{fault:?}: {text}");
        assert!(text.starts_with("the server of s3://releases/product ") && text.contains("; use a server"));
        if fault != Fault::KeepsWhatIsDeleted {
            assert_eq!(server.state().objects, before, "{fault:?}");
        }
        let touched = server.state().requests.iter().any(|(method, key)| {
            [Method::PUT, Method::DELETE].contains(method) && !key.starts_with("product/.tuffet-probe-")
        });
        assert!(!touched, "{fault:?}");
    }
}

#[test]
fn create_whose_answer_is_lost_or_held_up_succeeds_and_is_one_object() {
    for fault in [Fault::LosesAnswers(1), Fault::LosesAnswers(3), Fault::IsBusy(2)] {
        let server = Careless::serve(None);
        let store = publisher(&server, fault);
        store.create(&[file("1.root.json", "root")], &mut Unwatched).unwrap();
        let expected = BTreeMap::from([("product/1.root.json".to_owned(), b"root".to_vec())]);
        assert_eq!(server.state().objects, expected, "{fault:?}");
    }
}

#[test]
fn swap_whose_answer_is_lost_or_held_up_succeeds_unless_somebody_was_faster() {
    for fault in [Fault::LosesAnswers(1), Fault::LosesAnswers(3), Fault::IsBusy(2)] {
        let server = Careless::serve(None);
        let store = publisher(&server, fault);
        let first = store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
        server.state().fault = Some(fault);
        let second = store.swap("timestamp.json", Some(&first), b"2", &mut Unwatched).unwrap();
        assert_eq!(store.read("timestamp.json", 10).unwrap().unwrap().tag, second, "{fault:?}");
        assert_eq!(server.state().objects["product/timestamp.json"], b"2");
    }
    let server = Careless::serve(None);
    let store = publisher(&server, Fault::LosesAnswerAndIsOutrun);
    let refused = store.swap("timestamp.json", None, b"1", &mut Unwatched);
    assert_eq!(refused, Err(Environment::Outrun { path: store.place("timestamp.json") }.into()));
    assert_eq!(server.state().objects["product/timestamp.json"], b"another publisher's");
}

#[test]
fn server_that_always_fails_is_asked_a_bounded_number_of_times() {
    let server = Careless::serve(None);
    let store = publisher(&server, Fault::Fails { done: false });
    let text = assert_server(store.create(&[file("1.root.json", "root")], &mut Unwatched));
    assert!(text.starts_with("cannot create s3://releases/product/1.root.json: "), "{text}");
    assert!(text.contains("500"), "{text}");
    assert_server(store.swap("timestamp.json", None, b"1", &mut Unwatched));
    let asked = writes(&server);
    assert!((2..=24).contains(&asked), "{asked}");
    assert!(server.state().objects.is_empty());

    server.state().fault = Some(Fault::Redirects);
    let text = assert_server(store.swap("timestamp.json", None, b"1", &mut Unwatched));
    assert!(text.ends_with("; correct AWS_REGION"), "{text}");
    server.state().fault = Some(Fault::Complains);
    let error = store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap_err().to_string();
    assert!(error.len() < 500 && !error.contains('\n'), "{error}");

    // It says that it fails, and does it: what counts is what is there.
    server.state().fault = Some(Fault::Fails { done: true });
    store.create(&[file("1.root.json", "root")], &mut Unwatched).unwrap();
    store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
    assert_eq!(server.state().objects.len(), 2);
}

#[test]
fn first_failure_of_a_batch_stops_it_and_is_the_one_that_is_told() {
    let server = Careless::serve(None);
    let store = publisher(&server, Fault::IsBusy(0));
    store.create(&[file("0.x", "other")], &mut Unwatched).unwrap();
    let files: Vec<_> = (0..200).map(|number| file(&format!("{number}.x"), "x")).collect();
    let error = store.create(&files, &mut Unwatched).unwrap_err();
    assert!(error.to_string().contains("s3://releases/product/0.x"), "{error}");
    assert!(writes(&server) < 100, "{}", writes(&server));
}

#[test]
fn objects_on_a_server_say_how_long_they_may_be_kept() {
    let place = Place::bucket();
    let store = place.open();
    store.create(&[file("1.root.json", "root"), file("targets/00.x", "x")], &mut Unwatched).unwrap();
    store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
    let mut builder = AmazonS3Builder::new().with_bucket_name(BUCKET).with_allow_http(true);
    for (name, value) in settings(&seaweed().endpoint).environment {
        builder = builder.with_config(name.to_ascii_lowercase().parse().unwrap(), value);
    }
    let s3 = builder.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, cache, kind) in [
        ("1.root.json", "public, max-age=31536000, immutable", "application/json"),
        ("targets/00.x", "public, max-age=31536000, immutable", "application/octet-stream"),
        ("timestamp.json", "no-cache", "application/json"),
    ] {
        let key = store.place(name).to_str().unwrap().trim_start_matches("s3://releases/").to_owned();
        let found = runtime.block_on(s3.get(&key.into())).unwrap().attributes;
        assert_eq!(found.get(&Attribute::CacheControl).map(|value| value.as_ref()), Some(cache), "{name}");
        assert_eq!(found.get(&Attribute::ContentType).map(|value| value.as_ref()), Some(kind), "{name}");
    }
}

#[test]
fn large_image_goes_to_a_server_whole_and_is_not_sent_twice() {
    let place = Place::bucket();
    let store = place.open();
    let image: Vec<u8> = (0_u32..9 << 18).flat_map(u32::to_le_bytes).collect();
    let content = || Content::Bytes(image.clone().into());
    store.create(&[("targets/00.image".to_owned(), content())], &mut Unwatched).unwrap();
    store.create(&[("targets/00.image".to_owned(), content())], &mut Unwatched).unwrap();
    assert!(store.read("targets/00.image", 1 << 30).unwrap().unwrap().bytes == image);

    let server = Careless::serve(None);
    let store = publisher(&server, Fault::IsBusy(0));
    store.create(&[("targets/00.image".to_owned(), content())], &mut Unwatched).unwrap();
    store.create(&[("targets/00.image".to_owned(), content())], &mut Unwatched).unwrap();
    assert_eq!(writes(&server), 1);
}

#[test]
fn list_of_many_objects_on_a_server_has_every_page() {
    let place = Place::bucket();
    let store = place.open();
    // A page has a thousand.
    let files: Vec<_> = (0..1100).map(|number| file(&format!("targets/{number}/00.x"), "")).collect();
    store.create(&files, &mut Unwatched).unwrap();
    let listed = store.list("").unwrap();
    assert_eq!(listed.len(), files.len());
    let names: Vec<_> = listed.into_iter().map(|listed| listed.name).collect();
    store.remove(&names, &mut Unwatched).unwrap();
    assert_eq!(store.list("").unwrap(), []);
}

#[test]
fn credentials_that_the_server_does_not_know_are_an_error_that_says_so() {
    for (variable, value) in [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody")] {
        let mut settings = settings(&seaweed().endpoint);
        let wrong = settings.environment.iter_mut().find(|(name, _)| name == variable).unwrap();
        wrong.1 = value.to_owned();
        let place = format!("s3://{BUCKET}/credentials");
        let text = assert_server(open(&place, Access::Write, &settings));
        assert!(text.contains("the server refuses the credentials ("), "{text}");
        let store = open(&place, Access::Read, &settings).unwrap();
        let text = assert_server(store.read("timestamp.json", 100));
        assert!(text.starts_with("cannot read s3://releases/credentials/timestamp.json: "), "{text}");
        assert_server(store.list(""));
        assert_server(store.exists("timestamp.json"));
    }
}

#[test]
fn publisher_without_credentials_is_told_which_variables_to_set() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut settings = settings(&seaweed().endpoint);
    settings.environment.retain(|(name, _)| !name.contains("ACCESS_KEY"));
    settings.environment.push(("AWS_METADATA_ENDPOINT".to_owned(), nobody));
    let text = assert_server(open(PLACE, Access::Write, &settings));
    assert!(text.contains("there are no credentials; set AWS_ACCESS_KEY_ID and"), "{text}");
}

#[test]
fn bucket_that_does_not_exist_is_an_error_and_no_empty_repository() {
    let settings = settings(&seaweed().endpoint);
    let place = "s3://nowhere-at-all/product";
    let text = assert_server(open(place, Access::Write, &settings));
    assert!(text.contains("there is no such bucket; make it"), "{text}");
    let store = open(place, Access::Read, &settings).unwrap();
    assert!(assert_server(store.read("timestamp.json", 100)).contains("no such bucket"));
    assert!(assert_server(store.exists("timestamp.json")).contains("no such bucket"));
    assert!(assert_server(store.list("")).contains("no such bucket"));
}

#[test]
fn server_that_is_not_there_or_speaks_no_tls_is_an_error_that_says_so() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let text = assert_server(open(PLACE, Access::Write, &settings(&format!("http://{address}"))));
    assert!(text.contains("Connection refused") && text.contains("check AWS_ENDPOINT_URL"), "{text}");

    let server = Careless::serve(None);
    let endpoint = server.endpoint.replace("http:", "https:");
    let text = assert_server(open(PLACE, Access::Write, &settings(&endpoint)));
    assert!(text.contains("check AWS_ENDPOINT_URL"), "{text}");
    let requests = server.state().requests.len();
    assert_eq!(requests, 0, "nothing goes out in the clear");
}

#[test]
fn plain_http_to_another_machine_is_refused_unless_the_danger_is_asked_for() {
    let misuse = |settings: &Settings| match open(PLACE, Access::Read, settings).err() {
        Some(Error::Misuse(Misuse::Address { why, .. })) => Some(why),
        None => None,
        other => panic!("{other:?}"),
    };
    for endpoint in
        ["http://192.0.2.1", "http://s3.example.com:80", "http://127.0.0.1@192.0.2.1/", "HTTP://192.0.2.1"]
    {
        let mut settings = settings(endpoint);
        settings.environment.push(("AWS_ALLOW_HTTP".to_owned(), "true".to_owned()));
        let why = misuse(&settings).expect("it is refused");
        assert!(why.contains("plain http") && why.contains("; give an AWS_ENDPOINT_URL with https"), "{why}");
        settings.danger_plain_http = true;
        assert_eq!(misuse(&settings), None);
        // The variable that is for S3 alone counts before the other.
        let mut both = self::settings("https://192.0.2.1");
        both.environment.push(("AWS_ENDPOINT_URL_S3".to_owned(), endpoint.to_owned()));
        assert!(misuse(&both).is_some());
    }
    for endpoint in ["http://localhost:1", "http://127.0.0.1", "http://[::1]:9000", "https://192.0.2.1"] {
        assert_eq!(misuse(&settings(endpoint)), None, "{endpoint}");
    }
    assert!(misuse(&settings("192.0.2.1")).unwrap().contains("is no address"));
}

#[test]
fn addresses_that_name_no_place_are_refused() {
    for place in [
        "http://releases",
        "gs://releases",
        "s3://",
        "s3:///a",
        "s3://a/b",
        "s3://rel?x/b",
        "s3://releases/../b",
        "s3://releases/a//b",
    ] {
        let error = open(place, Access::Read, &settings("https://192.0.2.1")).err().expect(place);
        assert!(matches!(error, Error::Misuse(Misuse::Address { .. })), "{error:?}");
        assert!(error.to_string().contains("; give "), "{error}");
    }
    // The same repository, with a slash or without; a bucket without prefix is one, too.
    for (place, timestamp) in [
        ("s3://releases/product/", "s3://releases/product/timestamp.json"),
        ("s3://releases", "s3://releases/timestamp.json"),
    ] {
        let store = open(place, Access::Read, &settings("https://192.0.2.1")).unwrap();
        assert_eq!(store.place("timestamp.json").to_str().unwrap(), timestamp);
    }
}

#[test]
fn repositories_in_one_bucket_do_not_see_each_other() {
    let settings = settings(&seaweed().endpoint);
    let at = |place: &str| open(place, Access::Write, &settings).unwrap();
    let (one, other, within) =
        (at("s3://releases/beside"), at("s3://releases/beside-another"), at("s3://releases/beside/within"));
    one.create(&[file("1.root.json", "one")], &mut Unwatched).unwrap();
    other.create(&[file("1.root.json", "another")], &mut Unwatched).unwrap();
    within.create(&[file("1.root.json", "within")], &mut Unwatched).unwrap();
    assert_eq!(read(&*other, "1.root.json").unwrap(), "another");
    let names = |store: &dyn Store| -> Vec<String> {
        store.list("").unwrap().into_iter().map(|listed| listed.name).collect()
    };
    assert_eq!(names(&*one), ["1.root.json", "within/1.root.json"]);
    assert_eq!((names(&*other).len(), names(&*within).len()), (1, 1));
}
