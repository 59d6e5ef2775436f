//! Whether a server does what two publishers need: conditions that hold, and lists that are true.
//!
//! Some servers that speak S3 take a conditional write for an unconditional one and say that all is well. A
//! publisher finds that out on an object of its own, before it touches a repository.

use object_store::{PutMode, PutPayload, UpdateVersion};
use tuffet_client::release::Hex;

use crate::{Environment, Error};

use super::client::{Cache, Client};
use super::failure::Failure;
use super::{Mark, Tag};

/// Objects of these names are probes that were cut off.
pub(super) const NAME: &str = ".tuffet-probe-";

/// Bytes; all three differ in length, too.
const TEXTS: [&[u8]; 3] =
    [b"tuffet was here", b"tuffet was here again", b"tuffet was here, and should not have been"];

/// Tries the conditions on an object that nobody else knows, and removes it.
///
/// # Errors
/// [`Environment::Unconditional`], or what the server says.
pub(super) async fn probe(client: &Client) -> Result<(), Error> {
    let mut random = [0; 12];
    let failed = |error| Environment::Server {
        what: "probe",
        place: client.place(""),
        why: format!("no random numbers ({error}); check this machine"),
    };
    getrandom::fill(&mut random).map_err(failed)?;
    let name = format!("{NAME}{}", Hex(&random));
    let found = conditions(client, &name).await;
    // What went wrong first is what is told.
    let removed = client.delete(&name).await;
    if let Some(fault) = found? {
        return Err(Environment::Unconditional { place: client.place(""), fault }.into());
    }
    removed?;
    match client.read(&name, 1024).await? {
        None => Ok(()),
        Some(_) => {
            let fault = "still shows an object that was deleted";
            Err(Environment::Unconditional { place: client.place(""), fault }.into())
        }
    }
}

/// What is wrong with the server, if it answers at all.
async fn conditions(client: &Client, name: &str) -> Result<Option<&'static str>, Error> {
    let [first, second, third] = TEXTS.map(PutPayload::from_static);
    let update =
        |e_tag: &str| PutMode::Update(UpdateVersion { e_tag: Some(e_tag.to_owned()), version: None });
    let failed = |failure: &Failure| client.failed("probe", name, failure);

    let made = client.put(name, &first, PutMode::Create, Cache::Never).await?;
    let old = match made {
        Ok(Some(old)) => old,
        Err(failure) if !failure.lacks_e_tag() => return Err(failed(&failure)),
        _ => return Ok(Some("gives no ETag for an object")),
    };
    match client.put(name, &second, PutMode::Create, Cache::Never).await? {
        Err(failure) if failure.is_condition() => {}
        Err(failure) => return Err(failed(&failure)),
        Ok(_) => return Ok(Some("ignores If-None-Match, and overwrites an object that is there")),
    }
    match client.read(name, 1024).await? {
        Some(there) if there.bytes == TEXTS[0] && there.tag == Tag(Mark::Version(Some(old.clone()))) => {}
        _ => return Ok(Some("does not give back what was just written, or gives it another ETag")),
    }
    let new = match client.put(name, &second, update(&old), Cache::Never).await? {
        Ok(Some(new)) if new != old => new,
        Ok(_) => return Ok(Some("gives the same ETag to other bytes")),
        Err(failure) if failure.is_condition() => {
            return Ok(Some("refuses If-Match with the ETag that it gave"));
        }
        Err(failure) => return Err(failed(&failure)),
    };
    match client.put(name, &third, update(&old), Cache::Never).await? {
        Err(failure) if failure.is_condition() => {}
        Err(failure) => return Err(failed(&failure)),
        Ok(_) => return Ok(Some("ignores If-Match, and overwrites what another publisher wrote")),
    }
    match client.read(name, 1024).await? {
        Some(there) if there.bytes == TEXTS[1] && there.tag == Tag(Mark::Version(Some(new))) => {}
        _ => return Ok(Some("does not give back what was just written, or gives it another ETag")),
    }
    let listed = client.list("").await?;
    if !listed.iter().any(|listed| listed.name == name && listed.length == TEXTS[1].len() as u64) {
        return Ok(Some("does not list what was just written"));
    }
    Ok(None)
}
