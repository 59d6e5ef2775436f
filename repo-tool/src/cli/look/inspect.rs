//! `tuffet inspect`.

use clap::Args;
use tuffet::Error;
use tuffet::look::inspect::{Inspection, Manner, inspect};
use tuffet::look::place::Place;

use super::super::Facts;
use super::super::args::Output;
use super::{KeyNames, Transport, most, print};

#[derive(Args)]
#[command(after_help = "For example:
  tuffet inspect public/                     all that is published
  tuffet inspect staged/targets.request.json --names keys/
  tuffet inspect https://updates.example.com/timestamp.json
  tuffet inspect fw.bin                      what MCUboot's header says

Signatures of metadata files are named and not verified: `tuffet verify` does that. Those of a signing request are. \
A URL is that of a repository if it has a timestamp.json below it.")]
pub(crate) struct Inspect {
    /// A metadata file, a signing request, an image, or a repository
    #[arg(value_name = "FILE|DIR|URL")]
    place: String,

    /// Show everything; on a terminal long lists and texts are cut else
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    names: KeyNames,

    #[command(flatten)]
    transport: Transport,
}

/// Entries of one list that a terminal shows.
const SOME: usize = 25;

pub(crate) fn run(command: &Inspect, output: Output, now: u64) -> Result<(), Error> {
    let names = command.names.read()?;
    let place = Place::open(&command.place, command.transport.options())?;
    let manner = Manner { names: &names, most: most(command.all, SOME), now };
    let Inspection { lines, json } = inspect(place, &manner)?;
    print(Facts { lines, json }, output)
}
