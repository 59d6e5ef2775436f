//! Each answer comes whole, and byte by byte, and must mean the same.

extern crate std;

use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;

/// What became of an answer: the bytes that were wanted, or the fault.
type Ended = Result<Vec<u8>, TransportFault>;

/// The same, and how many bytes passed.
type Passed = (Ended, u32);

/// All of a file that has at most so many bytes.
fn whole(limit: u32) -> Request {
    Request::whole("targets/a.bin", limit).expect("a short path")
}

/// Less than a file.
fn range(from: u32, limit: u32, part: bool) -> Request {
    Request { from, part, ..whole(limit) }
}

fn comes(request: &Request, answer: &str) -> Ended {
    passes(request, answer).0
}

fn passes(request: &Request, answer: &str) -> Passed {
    let all = by(request, answer, usize::MAX);
    assert_eq!(all, by(request, answer, 1), "in one piece, and byte by byte");
    all
}

/// Feeds pieces of so many bytes, and closes the connection.
fn by(request: &Request, text: &str, piece: usize) -> Passed {
    let mut answer = Answer::to(request);
    let (mut content, mut passed) = (Vec::new(), 0);
    let mut sink = |input: Input<'_>| {
        match input {
            Input::Chunk(bytes) if !bytes.is_empty() => content.extend_from_slice(bytes),
            Input::Passed(bytes) if bytes > 0 => passed += bytes,
            other => panic!("{other:?} is not of a transport"),
        }
        Ok(())
    };
    let fault = |error| match error {
        Error::Environment(tuffet_agent::Environment::Transport(fault)) => fault,
        other => panic!("{other} is no fault of a transport"),
    };
    let mut fed = Ok(Progress::More);
    for bytes in text.as_bytes().chunks(piece.min(text.len().max(1))) {
        fed = answer.feed(bytes, &mut sink);
        if fed != Ok(Progress::More) {
            break;
        }
    }
    let ended = match fed {
        Ok(Progress::More) => answer.closed(),
        ended => ended.map(drop),
    };
    (ended.map_err(fault).map(|()| content), passed)
}

fn file(bytes: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{bytes}", bytes.len())
}

#[test]
fn request_is_what_servers_read() {
    let text = |request: Request| {
        let mut text = Vec::new();
        ask(&request, [10, 0, 2, 2], 8080, &mut |piece| text.extend_from_slice(piece));
        String::from_utf8(text).expect("it is ASCII")
    };
    let rest = "User-Agent: tuffet-device\r\nConnection: close\r\n\r\n";
    let get = "GET /targets/a.bin HTTP/1.1\r\nHost: 10.0.2.2:8080\r\n";
    assert_eq!(text(whole(100)), format!("{get}{rest}"));
    assert_eq!(text(range(0, 65_536, true)), format!("{get}Range: bytes=0-65535\r\n{rest}"));
    assert_eq!(text(range(65_536, 100_000, false)), format!("{get}Range: bytes=65536-99999\r\n{rest}"));
    assert_eq!(text(range(9, u32::MAX, false)), format!("{get}Range: bytes=9-4294967294\r\n{rest}"));
}

#[test]
fn file_comes_however_it_is_framed() {
    let expected = Ok(b"0123456789".to_vec());
    for answer in [
        file("0123456789"),
        String::from("HTTP/1.0 200 OK\r\n\r\n0123456789"),
        String::from("HTTP/1.1 200\ncontent-LENGTH:10\n\n0123456789 and more"),
        String::from("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0123456789"),
        String::from(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;a=b\r\n456789\r\n0\r\n\r\n",
        ),
        String::from(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
        ),
    ] {
        for limit in [10, 11, 1_000_000] {
            assert_eq!(comes(&whole(limit), &answer), expected, "{answer}");
        }
        assert_eq!(comes(&whole(9), &answer), Err(TransportFault::TooLong { limit: 9 }), "{answer}");
    }
    assert_eq!(comes(&whole(10), &file("")), Ok(Vec::new()));
}

#[test]
fn range_comes_from_servers_that_know_ranges_and_others() {
    let ranged =
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789";
    assert_eq!(comes(&range(4, 10, false), ranged), Ok(b"456789".to_vec()));
    assert_eq!(comes(&range(4, 8, true), ranged), Ok(b"4567".to_vec()));
    assert_eq!(comes(&range(4, 8, false), ranged), Err(TransportFault::TooLong { limit: 8 }));
    assert_eq!(comes(&range(4, 10, false), &file("0123456789")), Ok(b"456789".to_vec()));
    assert_eq!(comes(&range(4, 8, true), &file("0123456789")), Ok(b"4567".to_vec()));
    assert_eq!(comes(&range(0, 8, true), &file("0123456789")), Ok(b"01234567".to_vec()));
    // What a server without ranges sends before that is told, and of one with ranges nothing passes.
    assert_eq!(passes(&range(4, 10, false), ranged).1, 0);
    assert_eq!(passes(&range(4, 10, false), &file("0123456789")).1, 4);
    assert_eq!(passes(&range(11, 20, false), &file("0123456789")).1, 10);
    let fault = |from| Err(TransportFault::Range { from });
    // Others bytes than were asked for, and none.
    assert_eq!(comes(&range(5, 10, false), ranged), fault(5));
    let nowhere = "HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\n\r\n456789";
    assert_eq!(comes(&range(4, 10, false), nowhere), fault(4));
    assert_eq!(comes(&range(10, 20, false), "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n"), fault(10));
    assert_eq!(comes(&range(11, 20, false), &file("0123456789")), fault(11));
    assert_eq!(comes(&range(11, 20, false), "HTTP/1.1 200 OK\r\n\r\n0123456789"), fault(11));
    // Who asked for all of it gets all of it.
    assert_eq!(comes(&whole(10), ranged), Err(TransportFault::Status { code: 206 }));
}

#[test]
fn status_is_told_as_on_hosts() {
    let answer = |status: &str| comes(&whole(10), &format!("HTTP/1.1 {status}\r\n\r\n"));
    assert_eq!(answer("404 Not Found"), Err(TransportFault::NotFound));
    assert_eq!(answer("302 Found\r\nLocation: http://elsewhere/"), Err(TransportFault::Status { code: 302 }));
    assert_eq!(answer("416 No"), Err(TransportFault::Status { code: 416 }));
    assert_eq!(answer("500"), Err(TransportFault::Status { code: 500 }));
    assert_eq!(answer("503 Busy"), Err(TransportFault::Status { code: 503 }));
    let busy = |code, after| Err(TransportFault::Busy { code, after });
    assert_eq!(answer("503 Busy\r\nRetry-After: 120"), busy(503, 120));
    assert_eq!(answer("429 Slow\r\nretry-after:  99999999999"), busy(429, u32::MAX));
    assert_eq!(answer("500 No\r\nRetry-After: 120"), Err(TransportFault::Status { code: 500 }));
}

#[test]
fn answer_that_is_none_or_breaks_off_is_a_connection_that_broke() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012345678",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 9\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n01234\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0123\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        "HTTP/2 200 OK\r\n\r\n0123456789",
        "HTTP/1.1 20 OK\r\n\r\n0123456789",
        "HTTP/1.1 2000 OK\r\n\r\n0123456789",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        assert_eq!(comes(&whole(10), answer), Err(TransportFault::Connection), "{answer}");
    }
}

#[test]
fn head_has_a_bound_and_a_long_line_in_it_is_passed_by() {
    let long = "x".repeat(LINE);
    let answer =
        format!("HTTP/1.1 200 {long}\r\nContent-Length: {}10\r\nA: {long}\r\n\r\n01234567", "0".repeat(LINE));
    assert_eq!(comes(&whole(10), &answer), Ok(b"01234567".to_vec()));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(HEAD as usize / 6));
    assert_eq!(comes(&whole(10), &endless), Err(TransportFault::Connection));
    let line = format!("HTTP/1.1 200 {}", "x".repeat(HEAD as usize));
    assert_eq!(comes(&whole(10), &line), Err(TransportFault::Connection));
    let again = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD as usize / 25 + 1);
    assert_eq!(comes(&whole(10), &again), Err(TransportFault::Connection));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "1;\r\nx\r\n".repeat(HEAD as usize)
    );
    assert_eq!(comes(&whole(1_000_000), &chunks), Err(TransportFault::Connection));
}

#[test]
fn error_of_the_sink_ends_the_fetch_as_it_is() {
    let mut answer = Answer::to(&whole(10));
    let over = Error::from(tuffet_agent::Misuse::TurnOver);
    assert_eq!(answer.feed(file("0123456789").as_bytes(), &mut |_| Err(over)), Err(over));
}
