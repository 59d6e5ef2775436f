//! What client and agent take of a device: builds the firmware in `hil/measure`, runs it under QEMU over two named
//! repositories, and compares what it counts with budgets and with the table in `docs/budgets.md`.
//!
//! It exits with 0, with 1 when something is over its budget, was accepted or refused wrongly or is recorded
//! otherwise, with 2 for usage, and with 3 when the machine lacks something.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]

mod device;
mod firmware;
mod image;
mod page;
mod repository;
mod run;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::device::Device;
use crate::firmware::{Firmware, OPTIMISATIONS};
use crate::run::Run;

/// Why there is no table.
enum Failure {
    /// The firmware or its image is not what it must be.
    Refused(String),
    /// The machine lacks something; the text says what to do.
    Environment(String),
}

/// What client and agent take of a device, and whether they may.
#[derive(Parser)]
struct Arguments {
    /// Leave the two repositories in this directory, which is made if need be
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Write the table into docs/budgets.md
    #[arg(long)]
    update: bool,
}

/// What was counted at one level of optimisation.
struct Measured {
    images: firmware::Images,
    four_roles: Run,
    bins: Run,
    /// Over the same two repositories.
    devices: [Device; 2],
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            for complaint in complaints {
                eprintln!("footprint: {complaint}");
            }
            ExitCode::from(1)
        }
        Err(Failure::Refused(why)) => {
            eprintln!("footprint: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Environment(why)) => {
            eprintln!("footprint: {why}");
            ExitCode::from(3)
        }
    }
}

/// Everything; what it returns are complaints.
fn run(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let firmware = Firmware::find()?;
    let scratch = tempfile::tempdir().map_err(|error| file(Path::new("a temporary directory"), error))?;
    let directory = arguments.keep.as_deref().unwrap_or(scratch.path());
    let [four_roles, bins] = ["four-roles", "bins"].map(|name| directory.join(name));
    repository(&four_roles, repository::four_roles)?;
    repository(&bins, repository::bins)?;

    let mut all = Vec::new();
    for optimisation in OPTIMISATIONS {
        eprintln!("building and running at opt-level `{optimisation}`");
        let images = firmware.images(optimisation)?;
        let run = |repository: &Path| Run::new(&images.p256.path, repository);
        let devices = [Device::new(&images, &four_roles)?, Device::new(&images, &bins)?];
        let (four_roles, bins) = (run(&four_roles)?, run(&bins)?);
        all.push(Measured { images, four_roles, bins, devices });
    }
    let Ok([held, other]) = <[Measured; OPTIMISATIONS.len()]>::try_from(all) else {
        unreachable!("one for each level");
    };

    let rows = table::rows(&held, &other);
    let text = page::text(&rows);
    println!("{text}");
    println!("{}", image::Report(&held.images.p256));
    println!("{}", image::Report(&held.images.agent));

    let mut complaints = Vec::new();
    for (optimisation, measured) in OPTIMISATIONS.into_iter().zip([&held, &other]) {
        let Measured { images, four_roles, bins, devices: [device, device_of_bins] } = measured;
        for image in [&images.p256, &images.agent, &images.boot] {
            if let Some(first) = image.formatting.first() {
                let (count, program) = (image.formatting.len(), image.path.display());
                complaints
                    .push(format!("{program}: {count} symbols of core::fmt are linked, {first} among them"));
            }
        }
        let wrong = [
            ("four-roles", &four_roles.wrong),
            ("16,384 bins", &bins.wrong),
            ("four-roles, agent", &device.wrong),
            ("16,384 bins, agent", &device_of_bins.wrong),
        ];
        for (name, wrong) in wrong {
            complaints.extend(wrong.iter().map(|wrong| format!("`{optimisation}`, {name}: {wrong}")));
        }
    }
    complaints.extend(rows.iter().filter_map(table::Row::complaint));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/budgets.md");
    let page = fs::read_to_string(&path).map_err(|error| file(&path, error))?;
    if arguments.update {
        let page = page::replaced(&page, &text)?;
        fs::write(&path, page).map_err(|error| file(&path, error))?;
    } else {
        complaints.extend(page::differences(&page, &rows)?);
    }
    Ok(complaints)
}

/// Writes a repository into a directory of its own.
fn repository(directory: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Failure> {
    fs::create_dir_all(directory).and_then(|()| write(directory)).map_err(|error| file(directory, error))
}

fn file(path: &Path, error: io::Error) -> Failure {
    Failure::Environment(format!("{}: {error}", path.display()))
}
