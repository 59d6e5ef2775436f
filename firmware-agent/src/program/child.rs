//! Programs that are asked for something, with a deadline.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

/// Bytes of an answer, at the most.
const ANSWER: u64 = 4096;

/// Between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(20);

/// How a program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With this status.
    Exit(u8),
    /// By a signal.
    Killed(i32),
    /// It did not end in time, and was killed with all that it had started.
    Late,
    /// It was never started.
    NotStarted(io::Error),
}

/// What a program is given.
pub(crate) struct Call<'c> {
    pub(crate) command: &'c [String],
    /// Goes behind the command's own arguments.
    pub(crate) argument: Option<&'c str>,
    pub(crate) input: Option<File>,
    pub(crate) environment: &'c [(&'c str, String)],
    pub(crate) deadline: Duration,
}

impl Call<'_> {
    /// Runs the program; what it writes goes where our own messages go.
    pub(crate) fn run(self) -> Ended {
        self.start(false).map_or_else(Ended::NotStarted, |(child, deadline)| wait(child, deadline))
    }

    /// Runs the program, and gives the beginning of what it writes to standard output.
    pub(crate) fn ask(self) -> (Ended, String) {
        let (mut child, deadline) = match self.start(true) {
            Ok(started) => started,
            Err(error) => return (Ended::NotStarted(error), String::new()),
        };
        let output = child.stdout.take();
        // Apart, so that a program that keeps its output open is still bound by the deadline.
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut output) = output {
                let _ = output.by_ref().take(ANSWER).read_to_end(&mut text);
                // Nobody who writes more is to stand still.
                let _ = io::copy(&mut output, &mut io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let ended = wait(child, deadline);
        (ended, reader.join().unwrap_or_default())
    }

    #[expect(clippy::disallowed_methods, reason = "the edge of the binary: a deadline for another program")]
    fn start(self, answers: bool) -> io::Result<(Child, Instant)> {
        let Self { command, argument, input, environment, deadline } = self;
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(argument)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(if answers { Stdio::piped() } else { Stdio::from(io::stderr()) })
            // A group of its own, so that all of it can be ended.
            .process_group(0);
        Ok((command.spawn()?, Instant::now() + deadline))
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge of the binary: a deadline for another program")]
fn wait(mut child: Child, deadline: Instant) -> Ended {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return match status.code() {
                    Some(code) => Ended::Exit(u8::try_from(code).unwrap_or(u8::MAX)),
                    None => Ended::Killed(status.signal().unwrap_or_default()),
                };
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            _ => {
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Ended::Late;
            }
        }
    }
}
