//! What every command line of ours has besides its own commands: completions for shells, and manual pages.
//!
//! It is in this library for the programs `tuffet-keys` and `tuffet`, which both link it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::file::{self, Access};
use crate::{Environment, Error};

/// The arguments of the command `completions`.
#[derive(Args)]
pub struct Completions {
    /// The shell that is to complete what is typed
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The arguments of the command `man`.
#[derive(Args)]
pub struct Manual {
    /// The directory for all pages, made if need be; older ones there are replaced [default: the program's own page
    /// goes to standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// The help behind `completions`: where each shell looks for a script.
pub fn where_scripts_go(program: &str) -> String {
    format!(
        "Where the script goes:
  bash        {program} completions bash \\
                > ~/.local/share/bash-completion/completions/{program}
              (read by the package bash-completion)
  zsh         {program} completions zsh > ~/.zfunc/_{program}
              (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)
  fish        {program} completions fish \\
                > ~/.config/fish/completions/{program}.fish
  elvish      {program} completions elvish >> ~/.config/elvish/rc.elv
  powershell  {program} completions powershell >> $PROFILE"
    )
}

/// The help behind `man`: how pages are read.
pub fn how_to_read(program: &str) -> String {
    format!(
        "To read one page, and to have them all where `man {program}` finds them:
  {program} man | man -l -
  {program} man --out ~/.local/share/man/man1"
    )
}

/// The script that completes what is typed for this command line.
pub fn completions(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    if shell != Shell::Bash {
        clap_complete::generate(shell, &mut command, name, &mut script);
        return String::from_utf8_lossy(&script).into_owned();
    }
    // clap_complete spells a hyphen in the program's name in two ways, and then bash finds no command's options
    // (https://github.com/clap-rs/clap/issues/6421). So it gets a name without one, which the script repeats
    // in the lines alone that say for which program bash is to ask.
    let plain = name.replace('-', "_");
    clap_complete::generate(shell, &mut command, &plain, &mut script);
    String::from_utf8_lossy(&script)
        .replace(&format!(" -o default {plain}\n"), &format!(" -o default {name}\n"))
}

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The file's name, such as `tuffet-keys-root-draft.1`.
    pub name: String,
    /// The text in roff's language.
    pub text: String,
}

/// One page for the program, which comes first, and one for each command and each one below it.
///
/// # Errors
/// [`Environment::Encoding`]; none in practice, for nothing but memory is written to.
pub fn pages(command: Command) -> Result<Vec<Page>, Error> {
    // `tuffet-keys help sign` says what `tuffet-keys-sign.1` does.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    collect(&command, None, &source, &mut pages)?;
    Ok(pages)
}

/// Writes all pages into a directory, which is made if need be, and gives their paths.
///
/// # Errors
/// As [`pages`], and [`Environment::Io`].
pub fn write_pages(command: Command, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let pages = pages(command)?;
    fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, &error))?;
    let write = |page: &Page| {
        let path = directory.join(&page.name);
        file::replace(&path, page.text.as_bytes(), Access::Shared).map(|()| path)
    };
    pages.iter().map(write).collect()
}

fn collect(command: &Command, above: Option<&str>, source: &str, pages: &mut Vec<Page>) -> Result<(), Error> {
    pages.push(page(command, above, source)?);
    let name = command.get_display_name().unwrap_or(command.get_name());
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| collect(below, Some(name), source, pages))
}

/// The page of one command, put together from the sections of `clap_mangen`. Two are our own: its synopsis names
/// options without their values, and it runs the lines of examples together.
fn page(command: &Command, above: Option<&str>, source: &str) -> Result<Page, Error> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let man = Man::new(command.clone().override_usage(usage)).source(source).manual("Tuffet");
    // No date, so that the same program always writes the same pages; an empty one would be no argument at all.
    let man = man.date(" ");
    let mut text = Vec::new();
    let mut write = || {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
        }
        man.render_options_section(&mut text)?;
        let mut rest = Roff::new();
        after.iter().for_each(|after| notes(after, &mut rest));
        if !after
            .as_ref()
            .is_some_and(|after| after.split("\n\n").any(|paragraph| paragraph.starts_with(EXIT)))
        {
            rest.control("SH", ["EXIT STATUS"]).text([roman(STATUSES)]);
        }
        if let Some(above) = above {
            rest.control("SH", ["SEE ALSO"]).text([roman(format!("{above}(1)"))]);
        }
        rest.to_writer(&mut text)
    };
    write().map_err(|error: std::io::Error| Environment::Encoding { message: error.to_string() })?;
    Ok(Page { name: man.get_filename(), text: String::from_utf8_lossy(&text).into_owned() })
}

/// What a paragraph of a command's help begins with that has a section of its own in the page.
const EXIT: &str = "Exit status: ";

/// What the section says of a command whose help does not.
const STATUSES: &str = "0 done, 1 refused, 2 wrong usage, 3 the machine failed.";

/// The text below a command's help: paragraphs, of which lines that are indented stay as they are.
fn notes(text: &str, roff: &mut Roff) {
    let mut headed = false;
    for paragraph in text.split("\n\n") {
        let paragraph = match paragraph.strip_prefix(EXIT) {
            Some(statuses) => {
                roff.control("SH", ["EXIT STATUS"]);
                statuses
            }
            None if headed => {
                roff.control("PP", []);
                paragraph
            }
            None => {
                headed = true;
                roff.control("SH", ["NOTES"]);
                paragraph
            }
        };
        let mut verbatim = false;
        for line in paragraph.lines() {
            if verbatim != line.starts_with("  ") {
                verbatim = !verbatim;
                roff.control(if verbatim { "nf" } else { "fi" }, []);
            }
            roff.text([roman(line)]);
        }
        if verbatim {
            roff.control("fi", []);
        }
    }
}
