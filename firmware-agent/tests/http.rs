//! The transport against servers that answer, lie, stall and break off.
#![cfg(feature = "std")]

use core::net::Ipv4Addr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use rustls::{ServerConnection, StreamOwned};
use tuffet_agent::engine::Input;
use tuffet_agent::http::{AddressError, HttpOptions, HttpTransport};
use tuffet_agent::{Error, Misuse, Request, Transport, TransportFault};

mod authority;

#[test]
fn fetch_hands_over_the_body_as_it_was_sent() {
    let responses: [(&str, &[u8], &[u8]); 4] = [
        ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (
            "chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            b"hello",
        ),
        ("until the connection closes", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (
            "what claims to be compressed",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1F\x8Blie",
            b"\x1F\x8Blie",
        ),
    ];
    for (name, response, body) in responses {
        let server = serve(move |stream| stream.write_all(response).unwrap());
        assert_eq!(fetch(&server.url, "a", 5), Ok(body.to_vec()), "{name}");
    }
}

#[test]
fn fetch_asks_for_the_path_below_the_base_as_it_is() {
    let server = serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap());
    for base in [format!("{}repository", server.url), format!("{}repository/", server.url)] {
        fetch(&base, "targets/a%20b/0f.%231%3F%25~-_.bin", 5).unwrap();
        let request = server.requests.recv().unwrap();
        assert_eq!(request[0], "GET /repository/targets/a%20b/0f.%231%3F%25~-_.bin HTTP/1.1");
        let lower: Vec<String> = request.iter().map(|line| line.to_ascii_lowercase()).collect();
        assert!(!lower.iter().any(|line| line.starts_with("accept-encoding")), "{lower:?}");
    }
}

#[test]
fn fetch_of_a_body_longer_than_the_limit_is_cut_off() {
    let endless = |stream: &mut dyn ReadWrite| while stream.write_all(&[b'x'; 4096]).is_ok() {};
    let chunked = |stream: &mut dyn ReadWrite| {
        while stream.write_all(b"1000\r\n").and_then(|()| stream.write_all(&[b'x'; 4096])).is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {}
    };
    let servers = [
        serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8193\r\n\r\n").unwrap()),
        serve(move |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            endless(stream);
        }),
        serve(move |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            chunked(stream);
        }),
    ];
    for limit in [0, 1, 8192] {
        for server in &servers {
            let mut received = 0;
            let answer = transport(&server.url).fetch(&Request::whole("a", limit).unwrap(), &mut |input| {
                let chunk = input.bytes();
                received += chunk.len();
                Ok(())
            });
            assert_eq!(answer, Err(TransportFault::TooLong { limit }.into()));
            assert!(received <= limit as usize, "{received} bytes for a limit of {limit}");
        }
    }
}

#[test]
fn fetch_of_another_status_than_200_is_told_apart() {
    let codes = [
        (404, TransportFault::NotFound),
        (410, TransportFault::Status { code: 410 }),
        (403, TransportFault::Status { code: 403 }),
        (206, TransportFault::Status { code: 206 }),
        (204, TransportFault::Status { code: 204 }),
        (301, TransportFault::Status { code: 301 }),
        (302, TransportFault::Status { code: 302 }),
        (307, TransportFault::Status { code: 307 }),
        (503, TransportFault::Status { code: 503 }),
    ];
    let elsewhere =
        serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap());
    for (code, fault) in codes {
        let location = elsewhere.url.clone();
        let server = serve(move |stream| {
            let body = if code == 204 { "" } else { "Content-Length: 2\r\n\r\nhi" };
            let head = format!("HTTP/1.1 {code} So\r\nLocation: {location}\r\n");
            write!(stream, "{head}{body}{}", if code == 204 { "\r\n" } else { "" }).unwrap();
        });
        assert_eq!(fetch(&server.url, "a", 100), Err(fault.into()), "{code}");
    }
    assert!(elsewhere.requests.try_recv().is_err(), "a redirect was followed");
}

#[test]
fn fetch_from_the_middle_takes_a_range_or_passes_by_what_comes_before() {
    let request = |from, limit, part| Request { from, limit, part, ..Request::whole("a", limit).unwrap() };
    let get = |server: &Server, request: &Request| {
        let (mut body, mut passed) = (Vec::new(), 0);
        transport(&server.url)
            .fetch(request, &mut |input| {
                body.extend(input.bytes());
                passed += if let Input::Passed(bytes) = input { bytes } else { 0 };
                Ok(())
            })
            .map(|()| (String::from_utf8(body).unwrap(), passed))
    };
    let answers = |answer: &'static str| serve(move |stream| stream.write_all(answer.as_bytes()).unwrap());
    let range_of = |server: &Server| {
        let head = server.requests.recv().unwrap();
        head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: ").map(str::to_owned))
    };
    // What the server answers to a request for bytes 3 to 7 of `0123456789`, of which the last two are not wanted.
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    let partial =
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-7/10\r\nContent-Length: 5\r\n\r\n34567";
    for (answer, passed) in [(whole, 3), (partial, 0)] {
        let server = answers(answer);
        assert_eq!(get(&server, &request(3, 8, true)), Ok(("34567".to_owned(), passed)), "{answer}");
        assert_eq!(range_of(&server).as_deref(), Some("bytes=3-7"));
    }
    // All of the rest is wanted, and there is more of it than was signed; or less than was to come.
    let long = answers("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n0123456789x");
    assert_eq!(get(&long, &request(3, 10, false)), Err(TransportFault::TooLong { limit: 10 }.into()));
    let long = answers("HTTP/1.1 200 OK\r\n\r\n0123456789x");
    assert_eq!(get(&long, &request(3, 10, false)), Err(TransportFault::TooLong { limit: 10 }.into()));
    let short = answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n01");
    assert_eq!(get(&short, &request(3, 10, false)), Err(TransportFault::Range { from: 3 }.into()));
    for wrong in [
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */2\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\n01234",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\n34567",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: pages 3-7/10\r\nContent-Length: 5\r\n\r\n34567",
        "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let server = answers(wrong);
        assert_eq!(
            get(&server, &request(3, 10, false)),
            Err(TransportFault::Range { from: 3 }.into()),
            "{wrong}"
        );
    }
    // Whoever asks for all of a file does not speak of ranges.
    let server = answers(whole);
    assert_eq!(get(&server, &request(0, 10, false)), Ok(("0123456789".to_owned(), 0)));
    assert_eq!(range_of(&server), None);
}

#[test]
fn fetch_from_a_busy_server_hears_how_long_to_wait() {
    let busy = |code, after| Err(TransportFault::Busy { code, after }.into());
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (code, headers, said) in [
        (503, "Retry-After: 120\r\n".to_owned(), busy(503, 120)),
        (429, "Retry-After: 7\r\n".to_owned(), busy(429, 7)),
        // By the server's own clock, whatever ours says.
        (503, format!("{date}Retry-After: Sun, 06 Nov 1994 08:59:37 GMT\r\n"), busy(503, 600)),
        (
            503,
            format!("{date}Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n"),
            Err(TransportFault::Status { code: 503 }.into()),
        ),
        (
            503,
            "Retry-After: Sun, 06 Nov 1994 08:59:37 GMT\r\n".to_owned(),
            Err(TransportFault::Status { code: 503 }.into()),
        ),
        (503, "Retry-After: soon\r\n".to_owned(), Err(TransportFault::Status { code: 503 }.into())),
        (503, "Retry-After: 99999999999\r\n".to_owned(), busy(503, u32::MAX)),
        (500, "Retry-After: 120\r\n".to_owned(), Err(TransportFault::Status { code: 500 }.into())),
    ] {
        let answer = format!("HTTP/1.1 {code} So\r\n{headers}Content-Length: 2\r\n\r\nhi");
        let server = serve(move |stream| stream.write_all(answer.as_bytes()).unwrap());
        assert_eq!(fetch(&server.url, "a", 100), said, "{code} {headers}");
    }
}

#[test]
fn fetch_from_a_server_that_stalls_times_out() {
    let stalls: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
    ];
    for sent in stalls {
        let server = serve(move |stream| {
            stream.write_all(sent).unwrap();
            // Until the client hangs up.
            let _ = stream.read(&mut [0]);
        });
        let text = String::from_utf8_lossy(sent);
        assert_eq!(fetch(&server.url, "a", 100), Err(TransportFault::Timeout.into()), "{text}");
    }
}

#[test]
fn fetch_from_a_server_that_trickles_ends_at_the_deadline() {
    // Never silent for long: a byte every fifty milliseconds.
    let server = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").unwrap();
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let options = HttpOptions { patience: Duration::from_millis(500), slowest: 1_000_000, ..impatient() };
    let mut received = 0;
    let answer = HttpTransport::new(&server.url, options).unwrap().fetch(
        &Request::whole("a", 100_000).unwrap(),
        &mut |input| {
            let chunk = input.bytes();
            received += chunk.len();
            Ok(())
        },
    );
    assert_eq!(answer, Err(TransportFault::Timeout.into()));
    assert!((1..100).contains(&received), "{received} bytes");
}

#[test]
fn fetch_over_a_connection_that_breaks_is_no_end_of_file() {
    let breaks: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for sent in breaks {
        let server = serve(move |stream| stream.write_all(sent).unwrap());
        let text = String::from_utf8_lossy(sent);
        assert_eq!(fetch(&server.url, "a", 100), Err(TransportFault::Connection.into()), "{text}");
    }
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let refused = fetch(&format!("http://{gone}/"), "a", 100);
    assert_eq!(refused, Err(TransportFault::Connection.into()));
}

#[test]
fn fetch_stops_with_the_sink_s_error() {
    let server = serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap());
    let answer =
        transport(&server.url).fetch(&Request::whole("a", 2).unwrap(), &mut |_| Err(Misuse::NoTrial.into()));
    assert_eq!(answer, Err(Error::Misuse(Misuse::NoTrial)));
}

#[test]
fn fetch_over_tls_checks_who_answers() {
    let folder = tempfile::tempdir().unwrap();
    let config = authority::make(folder.path());
    let server = serve_raw(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let request = read_request(&mut tls)?;
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").ok()?;
        tls.conn.send_close_notify();
        let _ = tls.flush();
        Some(request)
    });

    let file = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let url = |host: &str| server.url.replace("http://127.0.0.1", &format!("https://{host}"));
    let fetch = |host: &str, authority: Option<&str>| -> Result<Vec<u8>, Error> {
        let root_certificates = authority.map(file);
        let options = HttpOptions { root_certificates, ..impatient() };
        let mut body = Vec::new();
        HttpTransport::new(&url(host), options).unwrap().fetch(
            &Request::whole("a", 5).unwrap(),
            &mut |input| {
                let chunk = input.bytes();
                body.extend(chunk);
                Ok(())
            },
        )?;
        Ok(body)
    };
    let untrusted = Err(TransportFault::Tls.into());
    assert_eq!(fetch("localhost", Some("ca.pem")), Ok(b"hello".to_vec()));
    assert_eq!(fetch("localhost", Some("other.pem")), untrusted, "another authority");
    assert_eq!(fetch("localhost", None), untrusted, "no public authority");
    assert_eq!(fetch("127.0.0.1", Some("ca.pem")), untrusted, "another name");
    let plain = serve_raw(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").ok()?;
        let _ = stream.read_to_end(&mut Vec::new());
        None
    });
    let options = HttpOptions { root_certificates: Some(file("ca.pem")), ..impatient() };
    let mut transport = HttpTransport::new(&plain.url.replace("http:", "https:"), options).unwrap();
    let answer = transport.fetch(&Request::whole("a", 5).unwrap(), &mut |_| Ok(()));
    assert_eq!(answer, Err(TransportFault::Tls.into()), "no TLS at all");
}

#[test]
fn new_with_an_address_that_will_not_do_says_why() {
    let new = |url: &str| HttpTransport::new(url, HttpOptions::default()).err();
    for good in [
        "https://updates.example.com",
        "https://updates.example.com:8443/lamps/",
        "http://127.0.0.1:8000/",
        "http://127.1.2.3/",
        "http://[::1]:8000/",
        "http://localhost:8000",
    ] {
        assert_eq!(new(good), None, "{good}");
    }
    for (bad, why) in [
        ("", AddressError::NotAnAddress),
        ("updates.example.com/lamps", AddressError::NotAnAddress),
        ("/srv/lamps", AddressError::NotAnAddress),
        ("ftp://updates.example.com/", AddressError::Scheme),
        ("https://updates.example.com/?lamp=", AddressError::Query),
        ("https://updates.example.com/#lamp", AddressError::Query),
        ("http://updates.example.com/", AddressError::PlainHttp),
        ("http://127.0.0.1.example.com/", AddressError::PlainHttp),
        ("http://localhost.example.com/", AddressError::PlainHttp),
        ("http://127.0.0.1@example.com/", AddressError::PlainHttp),
        ("http://10.0.0.1/", AddressError::PlainHttp),
    ] {
        assert_eq!(new(bad), Some(why), "{bad}");
    }
    let danger = HttpOptions { danger_allow_plain_http: true, ..HttpOptions::default() };
    assert!(HttpTransport::new("http://10.0.0.1/", danger).is_ok());
    for pem in [&b""[..], b"certificates", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
    {
        let options = HttpOptions { root_certificates: Some(pem.to_vec()), ..HttpOptions::default() };
        let refused = HttpTransport::new("https://updates.example.com", options).err();
        assert_eq!(refused, Some(AddressError::Certificates));
    }
}

fn fetch(url: &str, path: &str, limit: u32) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    transport(url).fetch(&Request::whole(path, limit).unwrap(), &mut |input| {
        let chunk = input.bytes();
        body.extend(chunk);
        Ok(())
    })?;
    Ok(body)
}

fn transport(url: &str) -> HttpTransport {
    HttpTransport::new(url, impatient()).unwrap()
}

fn impatient() -> HttpOptions {
    HttpOptions { silence: Duration::from_millis(500), ..HttpOptions::default() }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

struct Server {
    url: String,
    /// The head of each request, line by line.
    requests: mpsc::Receiver<Vec<String>>,
}

/// Answers each connection's first request, then closes it.
fn serve(answer: impl Fn(&mut dyn ReadWrite) + Send + 'static) -> Server {
    serve_raw(move |mut stream| {
        let request = read_request(&mut stream)?;
        answer(&mut stream);
        Some(request)
    })
}

fn serve_raw(answer: impl Fn(TcpStream) -> Option<Vec<String>> + Send + 'static) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            if let Some(request) = answer(stream.unwrap()) {
                // The test may be over.
                let _ = sender.send(request);
            }
        }
    });
    Server { url, requests }
}

fn read_request(stream: &mut dyn Read) -> Option<Vec<String>> {
    let lines = BufReader::with_capacity(1, stream).lines();
    let head: Result<Vec<String>, _> =
        lines.take_while(|line| !matches!(line, Ok(line) if line.is_empty())).collect();
    head.ok().filter(|head| !head.is_empty())
}
