//! Signals, systemd's socket, and waiting for either.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::failure::Failure;

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The time is over.
    Time,
    /// SIGHUP or SIGUSR1: somebody wants a check now.
    Hurry,
    /// SIGTERM or SIGINT: the process is to end.
    Stop,
}

/// What signals ask for.
pub(crate) struct Inbox {
    woken: Receiver<Woken>,
    stop: Arc<AtomicBool>,
}

impl Inbox {
    pub(crate) fn open() -> Result<Self, Failure> {
        let failed =
            |error| Failure { label: "A653".to_owned(), line: format!("signals: {error}"), status: 3 };
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(failed)?;
        let (sender, woken) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                let woken = if matches!(signal, SIGTERM | SIGINT) { Woken::Stop } else { Woken::Hurry };
                // Twice is in earnest. What is on the disk is sound at every moment.
                if woken == Woken::Stop && told.swap(true, Ordering::SeqCst) {
                    process::exit(0);
                }
                if sender.send(woken).is_err() {
                    return;
                }
            }
        });
        Ok(Self { woken, stop })
    }

    /// Whether the process is to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn wait(&self, seconds: u32) -> Woken {
        if self.stopped() {
            return Woken::Stop;
        }
        match self.woken.recv_timeout(Duration::from_secs(seconds.into())) {
            Ok(woken) => woken,
            Err(RecvTimeoutError::Timeout) => Woken::Time,
            Err(RecvTimeoutError::Disconnected) => Woken::Stop,
        }
    }
}

/// Tells systemd how the daemon does, if it is systemd that has started it.
pub(crate) fn notify(message: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        // Nothing here depends on who listens.
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}
