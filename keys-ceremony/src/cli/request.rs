//! A request for metadata that another tool wrote, of any role.

use std::path::{Path, PathBuf};

use clap::Args;
use tuffet_keys::delegation::Way;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::published::newest_file;
use tuffet_keys::request::Request;
use tuffet_keys::root::Chain;
use tuffet_keys::{Error, Misuse, Role, file};

use super::learn::named_role;
use super::root::chain_to;
use super::{Output, progress, refuse_existing};

pub(super) const HELP: &str = "FILE is a metadata file, {\"signatures\":[…],\"signed\":{…}}, signed by nobody yet or by some; good \
signatures are taken over. A delegated role's metadata do not say its name: --role does, or the file's name does if it \
is as 3.lamp.json. Who signs it the newest targets files in the directory say, or those that --delegated-by names.

For example:
  tuffet-keys request lamp.json --role lamp --repository public \\
      --out lamp.request.json";

#[derive(Args)]
pub(crate) struct Ask {
    /// The metadata file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The delegated role that it is for
    #[arg(long, value_name = "NAME")]
    role: Option<String>,

    /// The directory of the repository: its roots say who signs, and its targets files who signs for delegated roles
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,

    /// The targets files that lead to the delegated role, from the top-level one down, for instance before they are
    /// published [default: the newest in DIR]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    delegated_by: Vec<PathBuf>,

    /// Where the signing request goes
    #[arg(long, value_name = "REQUEST")]
    out: PathBuf,
}

/// Runs the command at `now`, in seconds since 1970-01-01 UTC.
pub(super) fn run(command: &Ask, now: u64, out: &mut Output) -> Result<(), Error> {
    let Ask { file: path, out: target, .. } = command;
    refuse_existing(target)?;
    let Envelope { signed, signatures } =
        Envelope::parse(&file::read(path)?).map_err(|error| error.in_file(path))?;
    let written = Header::from_signed(&signed).map_err(|error| error.in_file(path))?.role;
    let role = match &command.role {
        Some(name) => named_role(name)?,
        None => Role::of_file(path, &signed).unwrap_or(written),
    };
    let chain = roots(&command.repository, &role, signed["version"].as_u64())?;
    let mut request = match &role {
        Role::Delegated(name) => {
            let way = way(command, &chain, name)?;
            Request::draft_delegated(name, &signed, chain.files(), &way)
        }
        _ if !command.delegated_by.is_empty() => {
            let why = "--delegated-by is for delegated roles: name the one with --role";
            Err(Misuse::Options { why }.into())
        }
        _ => Request::draft(role, &signed, chain.files()),
    }
    .map_err(|error| error.in_file(path))?;
    request.header().check_issued(now).map_err(|error| error.in_file(path))?;
    for (keyid, signature) in &signatures {
        request.take(keyid, signature).map_err(|error| error.in_file(path))?;
    }
    request.create(target)?;
    out.written(target);
    out.describe(&request, None, now)?;
    progress(&request, out)?;
    out.put(&format!("wrote {}; let each holder run `tuffet-keys sign` on a copy\n", target.display()))
}

/// The roots that say who signs: all of them, or for a root those before it.
fn roots(directory: &Path, role: &Role, version: Option<u64>) -> Result<Chain, Error> {
    let newest = match (role, version) {
        (Role::Root, Some(1)) => return Ok(Chain::default()),
        (Role::Root, Some(version)) => Some(directory.join(format!("{}.root.json", version - 1))),
        _ => newest_file(directory, &Role::Root)?,
    };
    let newest = newest.ok_or_else(|| Error::from(Misuse::NotPublished).in_file(directory))?;
    chain_to(&newest, &[]).map_err(|error| error.in_file(&newest))
}

/// The targets files that lead to a role.
fn way(command: &Ask, chain: &Chain, name: &str) -> Result<Vec<(Role, Vec<u8>)>, Error> {
    if command.delegated_by.is_empty() {
        let directory = &command.repository;
        let found = Way::all(chain, name, |way| {
            let path = way.last().map_or(Ok(None), |role| newest_file(directory, role))?;
            path.map(|path| file::read(&path)).transpose()
        });
        let ways = found.map_err(|error| error.in_file(directory))?;
        let [way] = &ways[..] else {
            let why = "several targets files delegate to a role of this name; say with --delegated-by which ones lead to it";
            return Err(Error::from(Misuse::Options { why }).in_file(directory));
        };
        return Ok(way.steps().map(|step| (step.role.clone(), step.file.clone())).collect());
    }
    let mut files = Vec::new();
    for path in &command.delegated_by {
        let bytes = file::read(path)?;
        let Envelope { signed, .. } = Envelope::parse(&bytes).map_err(|error| error.in_file(path))?;
        let role = match files.is_empty() {
            true => Role::Targets,
            false => Role::of_file(path, &signed).unwrap_or(Role::Targets),
        };
        files.push((role, bytes));
        // Each as it comes, so that the file at fault is named.
        let so_far = files.iter().map(|(role, file)| (role, &file[..]));
        Way::verify(chain, so_far).map_err(|error| error.part_of(path))?;
    }
    Ok(files)
}
