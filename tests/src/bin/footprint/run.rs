//! Runs the measuring firmware over a repository, reads what it says, and checks what it accepted and refused.

use core::time::Duration;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::{Failure, file};

const EMULATOR: &str = "qemu-system-arm";

/// Instructions of a tick of the board's timer: 40 ns, at one instruction a nanosecond.
pub(crate) const TICK: u64 = 40;

/// Tenths of a second. A run takes ten seconds; one that hangs must not hang its caller.
const PATIENCE: u32 = 3_000;

/// Roles by the numbers that the firmware has for them.
const TIMESTAMP: u64 = 1;
const SNAPSHOT: u64 = 2;
const TARGETS: u64 = 3;
const DELEGATED: u64 = 4;

/// How a cycle ends, by the firmware's numbers.
pub(crate) const INSTALL: u64 = 1;
pub(crate) const UP_TO_DATE: u64 = 2;
pub(crate) const REFUSED: u64 = 3;

/// `Rejected::ThresholdNotMet` and `Rejected::MixAndMatch`.
const THRESHOLD_NOT_MET: u64 = 106;
const MIX_AND_MATCH: u64 = 111;

/// What one run counted, in bytes and instructions.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) trusted: u64,
    pub(crate) refresh: u64,
    pub(crate) memory: u64,
    /// The most that any cycle took.
    pub(crate) stack: u64,
    /// The first cycle of a device.
    pub(crate) full: Cycle,
    /// With nothing new in files that are all looked at.
    pub(crate) settle: Cycle,
    /// With nothing new since.
    pub(crate) nothing_new: Cycle,
    /// The same, without a look for new roots.
    pub(crate) poll: Cycle,
    /// Cycles that ended as they should, honest and forged ones.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// What did not.
    pub(crate) wrong: Vec<String>,
}

/// A cycle, counted.
#[derive(Default)]
pub(crate) struct Cycle {
    /// Of all files, as often as they were read.
    pub(crate) bytes: u64,
    /// All calls of the client.
    pub(crate) instructions: u64,
    /// Of them, SHA-256.
    pub(crate) hashing: u64,
    /// Of them, P-256.
    pub(crate) verifying: u64,
    pub(crate) verifications: u64,
    /// Each snapshot that was read.
    pub(crate) snapshots: Vec<Snapshot>,
}

/// A pass over a snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) bytes: u64,
    /// Instructions of `feed` without SHA-256.
    pub(crate) scanning: u64,
    pub(crate) hashing: u64,
}

/// What a forged file of a role must lead to.
pub(crate) struct Verdict {
    pub(crate) role: u64,
    pub(crate) code: u64,
    /// Files asked for, the next root and the forged one among them.
    pub(crate) files: u64,
    /// Versions of timestamp, snapshot and targets that are trusted then: those above the forged file.
    pub(crate) versions: [u64; 3],
}

pub(crate) const VERDICTS: [Verdict; 4] = [
    Verdict { role: TIMESTAMP, code: THRESHOLD_NOT_MET, files: 2, versions: [0, 0, 0] },
    Verdict { role: SNAPSHOT, code: MIX_AND_MATCH, files: 3, versions: [1, 0, 0] },
    // A trusted snapshot states the version of targets.
    Verdict { role: TARGETS, code: MIX_AND_MATCH, files: 4, versions: [1, 1, 1] },
    // The snapshot was read once more, for the bin's version.
    Verdict { role: DELEGATED, code: MIX_AND_MATCH, files: 6, versions: [1, 1, 1] },
];

/// Fails when there is no emulator.
pub(crate) fn check_emulator() -> Result<(), Failure> {
    match Command::new(EMULATOR).arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Environment(format!("{EMULATOR} --version: {status}"))),
        Err(error) => Err(Failure::Environment(format!(
            "{EMULATOR} cannot be started ({error}): install it (Debian: apt-get install {EMULATOR}), or put it on PATH"
        ))),
    }
}

impl Run {
    /// Runs the program in the repository's directory.
    pub(crate) fn new(program: &Path, repository: &Path) -> Result<Run, Failure> {
        let said = emulate(program, repository)?;
        let delegates = repository.join("1.bins-0000.json").exists();
        Run::read(&said, delegates).ok_or_else(|| Failure::Refused(format!("the firmware said:\n{said}")))
    }

    /// Reads what the firmware said; `None` if it said anything else.
    fn read(said: &str, delegates: bool) -> Option<Run> {
        let mut run = Run::default();
        let mut honest = 0;
        let mut forged = Vec::new();
        let mut snapshots = Vec::new();
        for line in said.lines() {
            let (name, numbers) = line.split_once(' ').unwrap_or((line, ""));
            let numbers: Vec<u64> =
                numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            match (name, numbers.as_slice()) {
                ("trusted", &[bytes]) => run.trusted = bytes,
                ("refresh", &[bytes]) => run.refresh = bytes,
                ("memory", &[bytes]) => run.memory = bytes,
                ("honest", &[0, 0, how, sequence, _, _, timestamp, snapshot, targets, stack]) => {
                    honest += 1;
                    run.stack = run.stack.max(stack);
                    let ended = [how, sequence, timestamp, snapshot, targets];
                    run.expect("the honest repository", ended == [INSTALL, 2, 1, 1, 1]);
                }
                ("forged", &[role, digit, how, code, at, files, timestamp, snapshot, targets, stack]) => {
                    run.stack = run.stack.max(stack);
                    forged.push([role, digit]);
                    let verdict = VERDICTS.iter().find(|verdict| verdict.role == role)?;
                    let right = (how, code, at, files) == (REFUSED, verdict.code, role, verdict.files)
                        && [timestamp, snapshot, targets] == verdict.versions;
                    if right {
                        run.refused += 1;
                    } else {
                        run.wrong.push(format!("not refused as it should be: {line}"));
                    }
                }
                ("file", &[role, bytes, feeding, hashing]) => {
                    if role == SNAPSHOT {
                        let scanning = feeding.checked_sub(hashing)? * TICK;
                        snapshots.push(Snapshot { bytes, scanning, hashing: hashing * TICK });
                    }
                }
                (name, &[how, number, bytes, calls, _, hashing, verifications, verifying]) => {
                    let cycle = Cycle {
                        bytes,
                        instructions: calls * TICK,
                        hashing: hashing * TICK,
                        verifying: verifying * TICK,
                        verifications,
                        snapshots: core::mem::take(&mut snapshots),
                    };
                    let (place, end) = match name {
                        "full" => (&mut run.full, [INSTALL, 2]),
                        "settle" => (&mut run.settle, [UP_TO_DATE, 0]),
                        "nothing-new" => (&mut run.nothing_new, [UP_TO_DATE, 0]),
                        "poll" => (&mut run.poll, [UP_TO_DATE, 0]),
                        _ => return None,
                    };
                    *place = cycle;
                    run.expect(name, [how, number] == end);
                }
                _ => return None,
            }
        }
        let roles = if delegates { TIMESTAMP..=DELEGATED } else { TIMESTAMP..=TARGETS };
        let expected: Vec<_> = roles.flat_map(|role| [[role, 0], [role, 1]]).collect();
        (honest == 1 && forged == expected && run.poll.instructions > 0).then_some(run)
    }

    fn expect(&mut self, what: &str, right: bool) {
        if right {
            self.accepted += 1;
        } else {
            self.wrong.push(format!("not accepted as it should be: {what}"));
        }
    }
}

impl Cycle {
    /// What is neither cryptography nor the scanning of large snapshots, which have at least `large` bytes.
    pub(crate) fn fixed_and_small(&self, large: u64) -> u64 {
        let scanning: u64 = self.large(large).map(|pass| pass.scanning).sum();
        self.instructions.saturating_sub(self.hashing + self.verifying + scanning)
    }

    /// The same without the bytes of the other files, at so many tenths of an instruction each.
    pub(crate) fn fixed(&self, large: u64, rate: u64) -> u64 {
        let bytes: u64 = self.bytes.saturating_sub(self.large(large).map(|pass| pass.bytes).sum());
        self.fixed_and_small(large).saturating_sub(bytes * rate / 10)
    }

    fn large(&self, large: u64) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter().filter(move |pass| pass.bytes >= large)
    }
}

/// What the program says. Its lines come over one of two ways, by the emulator's version.
pub(crate) fn emulate(program: &Path, repository: &Path) -> Result<String, Failure> {
    let scratch = tempfile::tempdir().map_err(|error| file(Path::new("a temporary directory"), error))?;
    let path = scratch.path().join("said");
    let log = || File::options().create(true).append(true).open(&path).map_err(|error| file(&path, error));
    let failed = |error: io::Error| Failure::Environment(format!("{EMULATOR}: {error}"));
    // As the runner in hil/measure/.cargo/config.toml.
    let mut emulator = Command::new(EMULATOR)
        .args(["-M", "mps2-an385", "-display", "none", "-monitor", "none", "-serial", "null"])
        .args(["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(program)
        .current_dir(repository)
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .spawn()
        .map_err(failed)?;
    let mut waited = 0;
    let status = loop {
        if let Some(status) = emulator.try_wait().map_err(failed)? {
            break status;
        }
        if waited == PATIENCE {
            emulator.kill().and_then(|()| emulator.wait()).map_err(failed)?;
            return Err(Failure::Refused("the firmware hangs".into()));
        }
        waited += 1;
        thread::sleep(Duration::from_millis(100));
    };
    let said = fs::read_to_string(&path).map_err(|error| file(&path, error))?;
    if status.success() {
        Ok(said)
    } else {
        Err(Failure::Refused(format!("the firmware fails; it said:\n{said}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `four-roles`.
    const SAID: &str = "trusted 1568\nrefresh 2416\nmemory 2196\nhonest 0 0 1 2 0 4 1 1 1 6972\n\
        forged 1 0 3 106 1 2 0 0 0 6924\nforged 1 1 3 106 1 2 0 0 0 6924\nforged 2 0 3 111 2 3 1 0 0 6924\n\
        forged 2 1 3 111 2 3 1 0 0 6924\nforged 3 0 3 111 3 4 1 1 1 6980\nforged 3 1 3 111 3 4 1 1 1 6972\n\
        file 2 512 2339 1192\nfull 1 2 2158 1598387 9878 5088 4 1586289\n\
        settle 2 0 1646 807391 7398 3895 2 798357\nnothing-new 2 0 515 3000 2345 1192 0 0\n\
        poll 2 0 515 1388 799 1193 0 0\n";

    #[test]
    fn run_is_what_the_firmware_said() {
        let run = Run::read(SAID, false).unwrap();
        assert_eq!((run.accepted, run.refused, run.stack), (5, 6, 6980));
        assert_eq!(run.wrong, [""; 0]);
        let rest = (1_598_387 - 1_586_289 - 5_088) * TICK;
        assert_eq!(run.full.fixed_and_small(513), rest);
        assert_eq!(run.full.fixed_and_small(512), rest - (2_339 - 1_192) * TICK);
        assert_eq!(run.full.fixed(513, 455), rest - 98_189);
        assert_eq!(run.full.fixed(512, 455), rest - (2_339 - 1_192) * TICK - 74_893);
    }

    #[test]
    fn run_with_another_code_version_or_end_is_wrong() {
        for (right, wrong) in [
            ("forged 2 0 3 111", "forged 2 0 3 106"),
            ("forged 1 0 3 106 1 2 0", "forged 1 0 3 106 1 2 1"),
            ("forged 3 0 3 111 3", "forged 3 0 3 111 2"),
            ("forged 3 1 3 111 3 4", "forged 3 1 1 2 0 4"),
            ("poll 2 0", "poll 1 2"),
            ("honest 0 0 1 2", "honest 0 0 1 3"),
        ] {
            let run = Run::read(&SAID.replacen(right, wrong, 1), false).unwrap();
            assert_eq!(run.wrong.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn run_that_leaves_a_case_out_is_none() {
        for line in ["forged 3 1 3 111 3 4 1 1 1 6972\n", "honest 0 0 1 2 0 4 1 1 1 6972\n"] {
            assert!(Run::read(&SAID.replacen(line, "", 1), false).is_none(), "{line}");
        }
        assert!(Run::read(&SAID.replacen("poll", "pole", 1), false).is_none());
        assert!(Run::read(SAID, true).is_none());
    }
}
