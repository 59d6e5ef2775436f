//! Messages: one line each, for people, for systemd's journal, or as JSON.

use core::fmt;
use std::env;
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::cli::Log;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody who started a command, and waits.
    Person,
    /// A log of a program that stays.
    Daemon,
}

/// Sends messages to standard error from here on.
pub(crate) fn start(log: Log, verbose: bool, reader: Reader) {
    let level = if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false);
    // A second subscriber would be a fault of ours; the first one goes on.
    let _ = match log {
        Log::Json => builder.json().flatten_event(true).with_target(false).try_init(),
        Log::Text => {
            let style = match reader {
                Reader::Person => Style::Bare,
                Reader::Daemon if env::var_os("JOURNAL_STREAM").is_some() => Style::Journal,
                Reader::Daemon => Style::Dated,
            };
            builder.event_format(style).try_init()
        }
    };
}

#[derive(Clone, Copy)]
enum Style {
    /// The message alone.
    Bare,
    /// With the number of its level, which the journal takes off; it has its own clock.
    Journal,
    /// With time and level.
    Dated,
}

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self {
            Self::Bare => {}
            Self::Journal => write!(writer, "<{}>", priority(level))?,
            Self::Dated => {
                SystemTime.format_time(&mut writer)?;
                write!(writer, " {level:>5} ")?;
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        writeln!(writer, "{}", message.0)
    }
}

/// Of an event's fields, the message.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// The levels of syslog.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
