//! A device's end of the line, and real servers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use tuffet::demo::mirror::{Fault as Wrong, Mirror};
use tuffet_hil_protocol::line::{PATH_MAX, Read};

use super::*;

/// What came for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    Bytes(u32, Vec<u8>, bool),
    Fault(Fault),
}

/// A device that asks one question after the other.
struct Device {
    line: UnixStream,
    number: u32,
}

impl Device {
    fn ask(&mut self, path: &str, from: u32, length: u16) -> Came {
        self.number += 1;
        self.ask_again(path, from, length)
    }

    fn ask_again(&mut self, path: &str, from: u32, length: u16) -> Came {
        let mut buffer = [0; FRAME_MAX];
        let question = ToHost::Read(Read { number: self.number, path, from, length });
        let frame = encode(&question, &mut buffer).expect("the question fits");
        let to = frame.checksum;
        self.line.write_all(frame.bytes).expect("the line takes it");
        let mut buffer = [0; FRAME_MAX];
        let mut receiver = Receiver::new(&mut buffer);
        loop {
            let mut byte = [0];
            self.line.read_exact(&mut byte).expect("the gateway answers");
            if let Some(answer) = receiver.push(byte[0]).and_then(|message| message.read::<Answer<'_>>())
                && answer.to == to
            {
                return match answer.reply {
                    Reply::Bytes { from, bytes, last } => Came::Bytes(from, bytes.to_vec(), last),
                    Reply::Fault(fault) => Came::Fault(fault),
                };
            }
        }
    }

    /// All of a file, in pieces.
    fn fetch(&mut self, path: &str, length: u16) -> Vec<u8> {
        let mut file = Vec::new();
        loop {
            let from = u32::try_from(file.len()).expect("a small file");
            match self.ask(path, from, length) {
                Came::Bytes(at, bytes, last) => {
                    assert_eq!(at, from);
                    file.extend(bytes);
                    if last {
                        return file;
                    }
                }
                other @ Came::Fault(_) => panic!("{path} from {from}: {other:?}"),
            }
        }
    }
}

/// Lets a device talk to a gateway. Gives what was served, and the log.
fn with(files: Files, talk: impl FnOnce(&mut Device)) -> (Served, Vec<u8>) {
    let (line, far) = UnixStream::pair().expect("a pair of sockets");
    let mut files = files;
    let gateway = thread::spawn(move || {
        let mut log = Vec::new();
        let served = files.serve(far, &mut |bytes| log.extend_from_slice(bytes));
        (served.expect("the line holds"), log)
    });
    let mut device = Device { line, number: 0 };
    talk(&mut device);
    drop(device);
    gateway.join().expect("the gateway ends with the line")
}

fn file(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

fn served(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Mirror) {
    let top = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        let path = top.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(path, bytes).expect("a file");
    }
    let mirror = Mirror::serve(top.path()).expect("a server");
    (top, mirror)
}

#[test]
fn path_as_long_as_any_of_the_agents_fits() {
    assert_eq!(PATH_MAX, tuffet_agent::transport::PATH_MAX);
}

#[test]
fn repository_gives_files_in_pieces_by_one_request_each() {
    let (image, exact) = (file(70_000), file(1024));
    let (_top, mirror) = served(&[("targets/a/0.bin", &image), ("timestamp.json", &exact), ("empty", b"")]);
    let (served, log) = with(Files::repository(&mirror.url()), |device| {
        assert_eq!(device.fetch("targets/a/0.bin", 512), image);
        assert_eq!(device.fetch("timestamp.json", 256), exact);
        assert_eq!(device.fetch("empty", 256), b"");
        assert_eq!(device.ask("2.root.json", 0, 512), Came::Fault(Fault::NotFound));
    });
    assert_eq!(mirror.requests().len(), 4);
    assert_eq!(served.questions, 137 + 4 + 1 + 1);
    assert!(log.is_empty());
}

#[test]
fn repository_goes_on_from_any_byte_and_gives_a_piece_again() {
    let image = file(5_000);
    let (_top, mirror) = served(&[("image", &image)]);
    with(Files::repository(&mirror.url()), |device| {
        for from in [4_000, 1_000, 1_000, 1_512] {
            let piece = image[from as usize..][..512].to_vec();
            assert_eq!(device.ask("image", from, 512), Came::Bytes(from, piece, false));
        }
        let Came::Bytes(_, once, _) = device.ask_again("image", 1_512, 512) else { panic!("no bytes") };
        assert_eq!(once, image[1_512..2_024]);
        assert_eq!(device.ask("image", 4_990, 512), Came::Bytes(4_990, image[4_990..].to_vec(), true));
        assert_eq!(device.ask("image", 5_001, 512), Came::Fault(Fault::Range));
    });
}

#[test]
fn repository_whose_beginning_is_asked_for_again_is_asked_again() {
    let (top, mirror) = served(&[("timestamp.json", b"old")]);
    with(Files::repository(&mirror.url()), |device| {
        assert_eq!(device.ask("timestamp.json", 0, 2), Came::Bytes(0, b"ol".to_vec(), false));
        std::fs::write(top.path().join("timestamp.json"), b"new").expect("a file");
        // Word for word, as after a restart.
        assert_eq!(device.ask_again("timestamp.json", 0, 2), Came::Bytes(0, b"ne".to_vec(), false));
    });
}

#[test]
fn server_faults_reach_the_device() {
    let (_top, mirror) = served(&[("a", &file(3_000))]);
    let meets = |wrong: Wrong| {
        mirror.set_fault("/a", wrong);
        let mut last = None;
        with(Files::repository(&mirror.url()), |device| {
            let mut from = 0;
            last = Some(loop {
                match device.ask("a", from, 512) {
                    Came::Bytes(_, bytes, false) if from < 100_000 => from += bytes.len() as u32,
                    other => break other,
                }
            });
        });
        last
    };
    assert_eq!(meets(Wrong::Status(500)), Some(Came::Fault(Fault::Status(500))));
    assert_eq!(meets(Wrong::Redirect(mirror.url())), Some(Came::Fault(Fault::Status(302))));
    assert_eq!(meets(Wrong::Hang), Some(Came::Fault(Fault::Timeout)));
    assert_eq!(meets(Wrong::DropAfter(1_000)), Some(Came::Fault(Fault::Connection)));
    assert!(matches!(meets(Wrong::Endless), Some(Came::Bytes(from, _, false)) if from >= 100_000));
}

#[test]
fn busy_server_says_for_how_long() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a request");
        let mut request = [0; 1024];
        let _ = connection.read(&mut request).expect("a request");
        let answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
        connection.write_all(answer).expect("the client takes it");
    });
    with(Files::repository(&url), |device| {
        let busy = Fault::Busy { code: 503, after: 120 };
        assert_eq!(device.ask("timestamp.json", 0, 512), Came::Fault(busy));
    });
    server.join().expect("the server answered");
}

#[test]
fn server_that_is_not_there_is_no_connection() {
    with(Files::repository("http://127.0.0.1:1"), |device| {
        assert_eq!(device.ask("timestamp.json", 0, 512), Came::Fault(Fault::Connection));
    });
}

/// A bundle of these files.
fn bundle(files: &[(&str, &[u8])]) -> File {
    let index: usize = files.iter().map(|(name, _)| 10 + name.len()).sum::<usize>() + 20;
    let mut bytes = b"TUFFET\x1a\n\x01\0".to_vec();
    bytes.extend(u16::try_from(files.len()).expect("a few files").to_le_bytes());
    bytes.extend(u32::try_from(index).expect("a short index").to_le_bytes());
    let mut offset = index;
    for (name, content) in files {
        bytes.extend(u32::try_from(offset).expect("a short bundle").to_le_bytes());
        bytes.extend(u32::try_from(content.len()).expect("a short file").to_le_bytes());
        bytes.extend(u16::try_from(name.len()).expect("a short name").to_le_bytes());
        bytes.extend(name.as_bytes());
        offset += content.len();
    }
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    files.iter().for_each(|(_, content)| bytes.extend(*content));
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("the file takes it");
    file
}

#[test]
fn bundle_gives_its_files_by_their_names() {
    let image = file(2_000);
    let bundle = bundle(&[("timestamp.json", b"time"), ("3.root.json", b"three"), ("targets/i.bin", &image)]);
    let files = Files::bundle(bundle).expect("a sound bundle");
    with(files, |device| {
        assert_eq!(device.fetch("targets/i.bin", 512), image);
        assert_eq!(device.ask("timestamp.json", 0, 4), Came::Bytes(0, b"time".to_vec(), true));
        assert_eq!(device.ask("timestamp.json", 2, 1), Came::Bytes(2, b"m".to_vec(), false));
        assert_eq!(device.ask("timestamp.json", 5, 1), Came::Fault(Fault::Range));
        assert_eq!(device.ask("4.root.json", 0, 4), Came::Fault(Fault::NotFound));
        // The walk of roots would go on behind the gap.
        assert_eq!(device.ask("2.root.json", 0, 4), Came::Fault(Fault::Unreadable));
    });
}

#[test]
fn log_and_questions_come_through_rubbish() {
    let (_top, mirror) = served(&[("a", b"file")]);
    let (_, log) = with(Files::repository(&mirror.url()), |device| {
        let mut buffer = [0; FRAME_MAX];
        for part in [&b"first "[..], b"second"] {
            device.line.write_all(b"\x07rubbish").expect("the line takes it");
            let frame = encode(&ToHost::Log(part), &mut buffer).expect("it fits");
            device.line.write_all(frame.bytes).expect("the line takes it");
        }
        device.line.write_all(&[0xFF; 2_000]).expect("the line takes it");
        assert_eq!(device.ask("a", 0, 512), Came::Bytes(0, b"file".to_vec(), true));
    });
    assert_eq!(log, b"first second");
}
