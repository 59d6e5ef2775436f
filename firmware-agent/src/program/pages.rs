//! Completions for shells, and manual pages.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::cli::Cli;
use super::failure::Failure;

/// The script that completes what is typed.
pub(crate) fn completions(shell: Shell) -> String {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    if shell != Shell::Bash {
        clap_complete::generate(shell, &mut command, name, &mut script);
        return String::from_utf8_lossy(&script).into_owned();
    }
    // clap_complete spells a hyphen in the program's name in two ways, and then bash finds no command's options
    // (https://github.com/clap-rs/clap/issues/6421).
    let plain = name.replace('-', "_");
    clap_complete::generate(shell, &mut command, &plain, &mut script);
    let script = String::from_utf8_lossy(&script);
    script.replace(&format!(" -o default {plain}\n"), &format!(" -o default {name}\n"))
}

/// Writes all pages to a directory, or gives the program's own.
pub(crate) fn write(out: Option<&Path>) -> Result<String, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = out else { return page(&command) };
    let failed = |error| Failure::file(folder, &error);
    fs::create_dir_all(folder).map_err(failed)?;
    let mut names = Vec::new();
    for command in core::iter::once(&command).chain(command.get_subcommands()) {
        let name = format!("{}.1", command.get_display_name().unwrap_or(command.get_name()));
        fs::write(folder.join(&name), page(command)?).map_err(failed)?;
        names.push(format!("{}\n", folder.join(name).display()));
    }
    Ok(names.concat())
}

fn page(command: &clap::Command) -> Result<String, Failure> {
    let (mut text, source) = (Vec::new(), concat!("tuffet-agent ", env!("CARGO_PKG_VERSION")));
    // No date, so that the same program always writes the same pages.
    let man = Man::new(command.clone()).source(source).manual("Tuffet").date(" ");
    man.render(&mut text).map_err(|error| Failure::file(Path::new("page"), &error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
