//! What a factory needs: facts to compile into the firmware, and the first content of the flash.
//!
//! The first image holds the facts, so there are two runs. The first writes `factory.rs` and `factory.json`;
//! the second, with the image that was built with them, writes the same again and `device.nor`. Facts that are
//! there already are never changed: the image in `device.nor` would fall back to others than its factory meant.

use std::fs;
use std::path::{Path, PathBuf};

use tuffet_agent::factory_file::{FactoryFile, FactoryFileError};
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::{Factory, FactoryImage, Flash, FlashMap};
use tuffet_client::SOFTWARE;
use tuffet_client::release::{Candidate, is_version};
use tuffet_client::time::Date;

use crate::config::Hardware;
use crate::release::{Channel, Wanted, examine};
use crate::repository::{Roots, Workspace, root_sha256};
use crate::staging::Mode;
use crate::storage::{Content, Unwatched, Writer, read_optional};
use crate::{Error, Misuse, Rejected};

/// A kind of device, as a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The devices' hardware, and the channel that they follow.
    pub place: Wanted,
    /// The security counter of the image that the facts are compiled into.
    pub counter: u32,
    /// The first image; without one no flash is written.
    pub image: Option<FirstImage>,
    /// The name of the flash map; without one that of `tuffet.toml`.
    pub flash_map: Option<String>,
}

/// The image that devices leave the factory with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstImage {
    /// The file.
    pub path: PathBuf,
    /// Its version; without one that of the channel's published release with these bytes.
    pub version: Option<String>,
    /// Its sequence; without one that of the channel's published release with these bytes, else 0.
    pub sequence: Option<u32>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The channel that the devices follow.
    pub channel: Channel,
    /// The version of the root that devices trust.
    pub root: u32,
    /// SHA-256, in lower-case hex, of what that root's keys signed.
    pub root_sha256: String,
    /// The same of root 1, which names the repository.
    pub root_1_sha256: String,
    /// When the facts were written first, in seconds since 1970. Devices know that it is later than this.
    pub built: u64,
    /// Sequence and version of the image in slot A.
    pub image: Option<(u32, String)>,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// Writes `factory.rs`, `factory.json` and, with an image, `device.nor` to `out`, at `now` (seconds since 1970); in a dry
/// run nothing.
///
/// Devices trust the newest published root.
///
/// # Errors
/// [`Rejected::OtherFacts`] if `out` holds facts of another device, what is wrong with hardware, flash map or
/// image, or an I/O failure.
pub fn write(
    workspace: &Workspace,
    order: &Order,
    out: &Path,
    now: u64,
    mode: Mode,
) -> Result<Report, Error> {
    let Order { place, counter, image, flash_map } = order;
    let channel = Channel::find(workspace.config(), place)?;
    let Channel { product, hardware, name } = &channel;
    let (_, known) = workspace.config().find(Some(product), hardware)?;
    let roots = workspace.roots()?;
    let version = roots.published;
    // A workspace without a public root does not open.
    let root = roots.chain.files().get(version as usize - 1).map(Vec::as_slice).unwrap_or_default();
    let root_sha256 = root_sha256(root)?;
    let root_1_sha256 = workspace.config().root_1_sha256.clone().unwrap_or_default();

    let facts = out.join("factory.json");
    let there = read_facts(&facts)?;
    let built = there.as_ref().map_or(now, |there| there.factory().built);
    let factory = Factory { root, product, hardware, channel: name, counter: *counter, built };
    if let Some(member) = there.and_then(|there| first_difference(&there.factory(), &factory)) {
        return Err(Rejected::OtherFacts { path: facts, member }.into());
    }
    let unusable =
        |error: FactoryFileError| Rejected::FactoryFile { path: facts.clone(), why: error.to_string() };
    let json = FactoryFile::new(&factory).map_err(unusable)?.to_string().into_bytes();
    let map = match (image, flash_map) {
        // A name that is given must be one, whether it is needed yet or not.
        (None, None) => None,
        _ => Some(find_map(hardware, known, flash_map.as_deref())?),
    };
    let flash = match (image, map) {
        (Some(image), Some(map)) => Some(flash_content(workspace, &roots, &factory, image, &map)?),
        _ => None,
    };

    let mut witness = Unwatched;
    let mut writer = Writer::new(&mut witness);
    let source = out.join("factory.rs");
    if mode == Mode::Write {
        writer.replace(&source, &Content::Bytes(factory_source(&factory, version).into()))?;
        writer.create(&facts, &Content::Bytes(json.into()))?;
    }
    let mut files = vec![source, facts];
    let mut image = None;
    if let Some((bytes, sequence, version)) = flash {
        files.push(out.join("device.nor"));
        if mode == Mode::Write {
            writer.replace(&out.join("device.nor"), &Content::Bytes(bytes.into()))?;
        }
        image = Some((sequence, version));
    }
    Ok(Report { channel, root: version, root_sha256, root_1_sha256, built, image, files })
}

/// A Rust source file with the facts as a constant.
fn factory_source(factory: &Factory<'_>, version: u32) -> String {
    let Factory { root, product, hardware, channel, counter, built } = *factory;
    let date = Date(built);
    format!(
        "// Written by `tuffet provision`; do not edit. Use: include!(\"factory.rs\");\n\n\
         /// What devices of this hardware know from birth: root {version}, and that it is later than {date}.\n\
         pub const FACTORY: tuffet_agent::Factory<'static> = tuffet_agent::Factory {{\n    \
             root: b\"{}\",\n    \
             product: {product:?},\n    \
             hardware: {hardware:?},\n    \
             channel: {channel:?},\n    \
             counter: {counter},\n    \
             built: {built},\n\
         }};\n",
        root.escape_ascii()
    )
}

/// The facts that are there already.
fn read_facts(path: &Path) -> Result<Option<FactoryFile>, Error> {
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    let facts = FactoryFile::parse(&bytes);
    let facts =
        facts.map_err(|error| Rejected::FactoryFile { path: path.to_owned(), why: error.to_string() })?;
    Ok(Some(facts))
}

/// The first member in which two devices' facts differ.
fn first_difference(one: &Factory<'_>, other: &Factory<'_>) -> Option<&'static str> {
    let members = [
        ("product", one.product == other.product),
        ("hardware", one.hardware == other.hardware),
        ("channel", one.channel == other.channel),
        ("counter", one.counter == other.counter),
        ("root", one.root == other.root),
        ("built", one.built == other.built),
    ];
    members.into_iter().find(|(_, same)| !same).map(|(member, _)| member)
}

/// Names of the flash maps that are built in.
const MAPS: &str = "demo";

fn find_map(id: &str, hardware: &Hardware, name: Option<&str>) -> Result<FlashMap, Error> {
    let Some(name) = name.or(hardware.flash_map.as_deref()) else {
        let why = "the hardware has no flash-map in tuffet.toml, and no --flash-map was given";
        return Err(Misuse::Options { why }.into());
    };
    let map = match name {
        "demo" => FlashMap::DEMO,
        _ => return Err(Rejected::UnknownFlashMap { name: name.to_owned(), known: MAPS }.into()),
    };
    let slot = map.layout().slot_a.length.min(map.layout().slot_b.length);
    if hardware.slot_size > slot {
        let (hardware, slot_size) = (id.to_owned(), hardware.slot_size);
        return Err(Rejected::SlotSize { hardware, slot_size, slot }.into());
    }
    Ok(map)
}

/// The whole flash, with the image's sequence and version.
fn flash_content(
    workspace: &Workspace,
    roots: &Roots,
    factory: &Factory<'_>,
    image: &FirstImage,
    map: &FlashMap,
) -> Result<(Vec<u8>, u32, String), Error> {
    let FirstImage { path, version, sequence } = image;
    let sha256 = examine(workspace.config(), factory.product, factory.hardware, path)?.sha256;
    let released = released(workspace, roots, factory, &sha256)?;
    if let Some(Candidate { counter, .. }) = released
        && counter != factory.counter
    {
        return Err(Rejected::CounterDiffers { given: factory.counter, released: counter }.into());
    }
    let version = version.clone().or(released.as_ref().map(|candidate| candidate.version.to_string()));
    let Some(version) = version else {
        let why = "the image is no published release of the channel, so that its --version must be given";
        return Err(Misuse::Options { why }.into());
    };
    if !is_version(&version) {
        let allowed = "1 to 32 printable ASCII characters without quotes and backslashes";
        return Err(Misuse::BadName { what: "version", text: version, allowed }.into());
    }
    let sequence = sequence.or(released.map(|candidate| candidate.sequence)).unwrap_or(0);
    let bytes = fs::read(path).map_err(|error| Error::io("read", path, &error))?;

    let scratch = std::env::temp_dir();
    let scratch =
        tempfile::tempdir().map_err(|error| Error::io("create a directory in", &scratch, &error))?;
    let file = scratch.path().join("device.nor");
    let failed = |error: std::io::Error| Error::io("write", &file, &error);
    let mut flash = Flash::new(<FileFlash>::create_with(&file, map).map_err(failed)?, *map)?;
    let first = FactoryImage { bytes: &bytes, sequence, version: &version };
    tuffet_agent::provision(&mut flash, &SOFTWARE, factory, &first)?;
    let content = flash.into_nor().snapshot().map_err(failed)?;
    Ok((content, sequence, version))
}

/// The channel's published release with the image's bytes.
fn released(
    workspace: &Workspace,
    roots: &Roots,
    factory: &Factory<'_>,
    sha256: &[u8; 32],
) -> Result<Option<Candidate>, Error> {
    let Some(published) = workspace.published(roots)? else { return Ok(None) };
    let Factory { product, hardware, channel, .. } = *factory;
    let entry = format!("{product}/{hardware}/{channel}/release");
    let Some(document) = published.role(&workspace.config().role_of(&entry))? else { return Ok(None) };
    Ok(document
        .sheet()?
        .entry(&entry)?
        .candidates
        .into_iter()
        .find(|candidate| candidate.image.sha256 == *sha256))
}
