//! How the demo tells what happens: who did what, one line each, on standard output.

use core::fmt::Arguments;
use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Color, Style};

use crate::Error;

const TITLE: Style = Style::new().bold();
const PARTY: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Cyan)));
const REFUSED: Style = Style::new().bold().fg_color(Some(Color::Ansi(AnsiColor::Yellow)));
const HELD: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Green)));

/// Columns of the party's name.
const PARTY_WIDTH: usize = 13;

/// Writes the story. Styles go out with it; a stream that is no terminal strips them.
pub(super) struct Story<'w> {
    out: &'w mut dyn Write,
}

impl<'w> Story<'w> {
    /// A story told to `out`.
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        Story { out }
    }

    /// A new chapter.
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn chapter(&mut self, title: &str) -> Result<(), Error> {
        self.line(format_args!("\n{TITLE}{title}{TITLE:#}"))
    }

    /// Somebody did something.
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn tell(&mut self, party: &str, what: &str) -> Result<(), Error> {
        self.line(format_args!("  {PARTY}{party:PARTY_WIDTH$}{PARTY:#} {what}"))
    }

    /// Somebody refused something, with the code of the error.
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn refuse(&mut self, party: &str, code: &str, why: &str) -> Result<(), Error> {
        self.line(format_args!(
            "  {PARTY}{party:PARTY_WIDTH$}{PARTY:#} {REFUSED}refuses [{code}]{REFUSED:#} {why}"
        ))
    }

    /// Somebody could not go on, with the code of the error.
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn give_up(&mut self, party: &str, code: &str, why: &str) -> Result<(), Error> {
        self.line(format_args!(
            "  {PARTY}{party:PARTY_WIDTH$}{PARTY:#} {REFUSED}gives up [{code}]{REFUSED:#} {why}"
        ))
    }

    /// Something stayed as it was.
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn hold(&mut self, what: &str) -> Result<(), Error> {
        self.line(format_args!("  {:PARTY_WIDTH$} {HELD}{what}{HELD:#}", ""))
    }

    fn line(&mut self, line: Arguments<'_>) -> Result<(), Error> {
        let written = writeln!(self.out, "{line}");
        written.map_err(|error| Error::io("write", Path::new("the story"), &error))
    }
}
