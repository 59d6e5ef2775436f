//! What is staged and ready to be published, and what waits.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tuffet_client::release::Hex;
use tuffet_keys::Rejected::ThresholdNotMet as Unmet;
use tuffet_keys::Role;
use tuffet_keys::delegation::Delegation;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::request::Request;

use super::Waiting;
use crate::author::Target;
use crate::document::{Document, Sheet};
use crate::preflight;
use crate::release::Channel;
use crate::repository::{Published, Roots, Workspace, check_issued, metadata_name, target_name};
use crate::source::Fetched;
use crate::storage::Content;
use crate::{Error, Family, Rejected};

/// A role's file that becomes public, and what it replaces.
pub(super) struct New {
    pub(super) role: Role,
    pub(super) document: Document,
    pub(super) sheet: Sheet,
    pub(super) before: Sheet,
}

/// The staged roles that have their signatures, and those that have not, with what is missing.
pub(super) fn signed(
    workspace: &Workspace,
    roots: &Roots,
    published: Option<&Published>,
    now: u64,
) -> Result<(Vec<New>, Vec<Waiting>), Error> {
    let (mut new, mut waiting): (Vec<New>, Vec<_>) = (Vec::new(), Vec::new());
    let mut staged = workspace.staged_roles()?;
    // What delegates comes before what is delegated to, so that it is known who signs that.
    staged.sort_by_key(|role| workspace.depth(role));
    for role in staged {
        // What is wrong with one request keeps no other back.
        let refused = |why: Error| match why.family() {
            Family::Rejected => Ok(why),
            _ => Err(why),
        };
        match ready(workspace, roots, published, &new, &role, now) {
            Ok(found) => new.extend(found),
            Err(why) => waiting.push(Waiting { role, why: refused(why)? }),
        }
    }
    // Devices come to the top last, so it is written last.
    new.reverse();
    Ok((new, waiting))
}

/// The file of a staged role, if it has its signatures; none if it is public already.
fn ready(
    workspace: &Workspace,
    roots: &Roots,
    published: Option<&Published>,
    new: &[New],
    role: &Role,
    now: u64,
) -> Result<Option<New>, Error> {
    let config = workspace.config();
    if *role != Role::Targets && config.delegate(role).is_none() {
        let known = config.delegates().map(|(_, delegate)| delegate.name.clone()).collect();
        return Err(Rejected::UnknownStaged { path: workspace.request_path(role), known }.into());
    }
    let Some(request) = workspace.pending(role, published)? else { return Ok(None) };
    check_issued(request.header(), now)?;
    let document = finish(workspace, roots, &request, now)?;
    if let Role::Delegated(name) = role {
        check_signers(workspace, published, new, name, &request)?;
    }
    let before = Published::sheet_of(published, role)?;
    let sheet = document.sheet()?;
    if let Some(path) = sheet.changed(&before).find(|path| config.role_of(path) != *role) {
        let (path, role) = (path.to_owned(), role.clone());
        return Err(Rejected::ForeignPath { path, role }.into());
    }
    let new = New { role: role.clone(), document, sheet, before };
    check_releases(workspace, &new)?;
    Ok(Some(new))
}

/// Holds releases that are new or changed against the policy of today: it may have changed since they were staged.
fn check_releases(workspace: &Workspace, new: &New) -> Result<(), Error> {
    let config = workspace.config();
    for path in new.sheet.changed(&new.before) {
        let Some(channel) = Channel::of_entry(path) else { continue };
        let Channel { product, hardware, name } = &channel;
        let listed = new.sheet.entry(path)?;
        let (_, known) = config.find(Some(product), hardware)?;
        config.check_channel(product, name)?;
        for index in preflight::changed(&listed, &new.before.entry(path)?) {
            let image = &listed.candidates[index].image;
            if image.length > known.slot_size {
                let (length, hardware, slot_size) = (image.length.into(), hardware.clone(), known.slot_size);
                let image = PathBuf::from(image.path.as_str());
                return Err(Rejected::ImageTooLarge { image, length, hardware, slot_size }.into());
            }
        }
    }
    Ok(())
}

/// Whether the keys that a delegated role's request asks are those that will sign it when it is public.
fn check_signers(
    workspace: &Workspace,
    published: Option<&Published>,
    new: &[New],
    name: &str,
    request: &Request,
) -> Result<(), Error> {
    let role = Role::Delegated(name.to_owned());
    let Some(above) = workspace.above(&role).pop() else { return Ok(()) };
    let document = match new.iter().find(|new| new.role == above) {
        Some(new) => Some(new.document.clone()),
        None => Published::role_of(published, &above)?,
    };
    let delegation = match &document {
        Some(document) => Delegation::of(&Envelope::parse(document.bytes())?.signed, name)?,
        None => None,
    };
    let path = workspace.request_path(&role);
    let by = above.to_string();
    let Some(Delegation { signers, .. }) = delegation else {
        let (role, waits) = (role, workspace.request_path(&above));
        return Err(
            Rejected::NotDelegated { role, by: above, waits: waits.is_file().then_some(waits) }.into()
        );
    };
    match request.asks(&signers) {
        true => Ok(()),
        false => Err(Rejected::RequestOfOldKeys { path, role, by }.into()),
    }
}

/// The signed file of a request, which must not have expired `now` (seconds since 1970). If it is public already, as a
/// publisher that died left it, these very bytes.
fn finish(workspace: &Workspace, roots: &Roots, request: &Request, now: u64) -> Result<Document, Error> {
    let role = &request.header().role;
    let path = workspace.request_path(role);
    let asked = request.chain().last();
    if *role == Role::Targets && asked.map(|root| &root.roles[role]) != Some(roots.keys(role)) {
        let request = asked.map_or(0, |root| root.header.version);
        return Err(Rejected::RequestOfOldRoot { path, request, newest: roots.version() }.into());
    }
    let finished = request.finish(now).map_err(|error| match error {
        tuffet_keys::Error::Rejected { why: Unmet { what, by, threshold, signed, missing }, .. } => {
            Rejected::Unsigned { path: path.clone(), what: what.into(), by, threshold, signed, missing }
                .into()
        }
        error => Error::from(error.in_file(&path)),
    })?;
    let public = metadata_name(role, request.header().version);
    let finished = Document::parse(finished, role, &path)?;
    // Another signature may have come since; the file that is there has enough, or preflight says that it has not.
    let there = workspace
        .read(&public)?
        .and_then(|bytes| Document::parse(bytes, role, &workspace.place(&public)).ok());
    Ok(there.filter(|there| there.signed() == finished.signed()).unwrap_or(finished))
}

/// The files of the targets that are new.
pub(super) fn target_files(workspace: &Workspace, new: &New) -> Result<Vec<(String, Content)>, Error> {
    let mut files = Vec::new();
    for path in new.sheet.changed(&new.before) {
        let Some(target) = new.sheet.target(path)? else { continue };
        let name = target_name(path, &target.sha256);
        let content = match new.sheet.custom(path) {
            Some(custom) if target.is(custom.as_bytes()) => {
                Some(Content::Bytes(custom.as_bytes().to_vec().into()))
            }
            Some(_) => {
                let path = workspace.request_path(&new.role);
                let why = "a release entry is not the file that it says it is".to_owned();
                return Err(Rejected::Damaged { path, why }.into());
            }
            None => image_content(workspace, &target, &name)?,
        };
        files.extend(content.map(|content| (name, content)));
    }
    Ok(files)
}

/// The staged image; none if it is public already, as a publisher that died left it.
fn image_content(workspace: &Workspace, target: &Target, name: &str) -> Result<Option<Content>, Error> {
    let path = workspace.staged_image(&target.sha256);
    let differs = |sha256: [u8; 32], length: u64, path: PathBuf| {
        if Hex(&sha256).to_string() != target.sha256 {
            let why = "the image does not have the digest that it is stored under".to_owned();
            return Err(Rejected::Damaged { path, why }.into());
        }
        match length == u64::from(target.length) {
            true => Ok(()),
            false => Err(Error::from(Rejected::TargetDiffers { path })),
        }
    };
    if path.is_file() {
        let (content, length) = Content::given(&path)?;
        differs(content.digest(), length, path)?;
        return Ok(Some(content));
    }
    let (mut hash, mut length) = (Sha256::new(), 0);
    let fetched = workspace.store().fetch(name, u32::MAX, &mut |chunk| {
        hash.update(chunk);
        length += chunk.len() as u64;
    })?;
    if fetched == Fetched::Missing {
        return Err(Rejected::TargetMissing { path }.into());
    }
    differs(hash.finalize().into(), length, workspace.place(name))?;
    Ok(None)
}

/// What is staged and will be public: requests first, for while they are there their images are.
pub(super) fn clearing(
    workspace: &Workspace,
    roots: &Roots,
    waiting: &[Waiting],
) -> Result<Vec<PathBuf>, Error> {
    let waits = |role: &Role| waiting.iter().any(|waiting| waiting.role == *role);
    let (left, gone): (Vec<Role>, Vec<Role>) = workspace.staged_roles()?.into_iter().partition(waits);
    let mut paths: Vec<PathBuf> = gone.iter().map(|role| workspace.request_path(role)).collect();
    paths.extend((1..=roots.version()).map(|version| workspace.staged_root(version)));
    paths.extend(workspace.images_without(&left)?);
    Ok(paths)
}
