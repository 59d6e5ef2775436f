//! The real `imgtool`, several commands a process, for Python takes its time to start.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Runs each command line of standard input, a JSON list of texts, in the current directory.
const DRIVER: &str = "
import json, sys
try:
    from imgtool.main import imgtool
except ImportError as error:
    sys.exit(f'TUFFET_TEST_PYTHON names a Python without what tests/oracles/requirements.txt lists: {error}')
for arguments in json.load(sys.stdin):
    try:
        imgtool(arguments, standalone_mode=False)
    except BaseException as error:
        sys.exit(f'imgtool {arguments}: {error!r}')
";

/// The Python that has `imgtool`.
fn python() -> OsString {
    std::env::var_os("TUFFET_TEST_PYTHON").expect(
        "TUFFET_TEST_PYTHON must name a Python that has what tests/oracles/requirements.txt lists; \
         `tests/run --only test` makes one and sets it",
    )
}

/// Runs these command lines in this directory.
pub(crate) fn imgtool(directory: &Path, commands: &[Vec<String>]) {
    let mut command = Command::new(python());
    command.args(["-c", DRIVER]).current_dir(directory).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| {
        panic!("TUFFET_TEST_PYTHON names no program that starts: {error}");
    });
    // If it ended before it read, it says why.
    let _ = child.stdin.take().unwrap().write_all(json!(commands).to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `imgtool dumpinfo` wrote.
pub(crate) struct Dump(pub Value);

impl Dump {
    pub(crate) fn header(&self, field: &str) -> u64 {
        self.0["header"][field].as_u64().unwrap()
    }

    /// The values of the entries with this name.
    pub(crate) fn entries(&self, area: &str, name: &str) -> Vec<Vec<u8>> {
        let entries = self.0["tlv_area"][area].as_array().unwrap();
        let named = entries.iter().filter(|entry| entry["type_name"] == name);
        named.map(|entry| unhex(entry["data"].as_str().unwrap())).collect()
    }

    /// Where the image ends.
    pub(crate) fn length(&self) -> u64 {
        let area = self.0["tlv_area"]["tlv_hdr"]["tlv_tot"].as_u64().unwrap();
        self.header("hdr_size") + self.header("img_size") + self.header("protected_tlv_size") + area
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
