//! The file of a request: JSON for people to read and mail to carry, whose payload may have megabytes.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Request, Requirement};
use crate::delegation::{Step, Way};
use crate::encoding::{AsBase64, from_base64, from_base64_in_place, from_hex, hex};
use crate::metadata::Role;
use crate::{Error, Rejected};

/// Bytes of a request's file, at the most: three files as large as devices read in base64, for it carries what is
/// signed, and the targets files that lead to a delegated role.
pub(crate) const MAX_REQUEST: u64 = 64 << 20;

const KIND: &str = "tuffet-signing-request";

/// The format of the file. Raised when a reader of the old one could misunderstand the new.
const FORMAT: u64 = 2;

/// The file; `T` stands for base64 that is read or written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<T> {
    #[serde(rename = "_type")]
    kind: String,
    format: u64,
    role: String,
    version: u32,
    payload: T,
    root_chain: Vec<T>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    delegated_by: Vec<WrittenStep<T>>,
    signers: Vec<Signers>,
    signatures: Vec<WrittenSignature>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signers {
    by: String,
    version: u32,
    threshold: u32,
    keyids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep<T> {
    role: String,
    file: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    keyid: String,
    sig: String,
}

/// Text as it stands in the file, unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Whether a file says that it is a request, good or bad.
pub(crate) fn is_request(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'t> {
        #[serde(rename = "_type", borrow)]
        kind: Text<'t>,
    }
    serde_json::from_slice(bytes).is_ok_and(|Kind { kind }| kind.0 == KIND)
}

/// Reads a request, and verifies everything in it. The file's own memory becomes that of the payload, for it is the
/// most of it.
pub(super) fn read(mut file: Vec<u8>) -> Result<Request, Error> {
    if file.len() as u64 > MAX_REQUEST {
        return Err(Rejected::TooLarge { limit: MAX_REQUEST }.into());
    }
    let Written { role, version, payload, root_chain, delegated_by, signers, signatures, .. } = parse(&file)?;
    let chain: Vec<Vec<u8>> =
        root_chain.iter().map(|root| from_base64(&root.0, "root_chain")).collect::<Result<_, _>>()?;
    let step = |WrittenStep { role, file }: &WrittenStep<Text<'_>>| {
        let expected = "the name of a role";
        let named = Role::named(role);
        let role = named.ok_or(Rejected::WrongField { field: "delegated_by".to_owned(), expected })?;
        Ok((role, from_base64(&file.0, "delegated_by")?))
    };
    let way: Vec<(Role, Vec<u8>)> = delegated_by.iter().map(step).collect::<Result<_, Error>>()?;
    let payload = match payload.0 {
        Cow::Borrowed(text) => {
            let start = text.as_ptr().addr() - file.as_ptr().addr();
            file.truncate(start + text.len());
            file.drain(..start);
            file
        }
        Cow::Owned(text) => text.into_bytes(),
    };
    let payload = from_base64_in_place(payload, "payload")?;
    let assembled = match way.is_empty() {
        true => Request::assemble(payload, &chain),
        false => Request::assemble_delegated(payload, &chain, &role, &way),
    };
    let mut request = assembled.map_err(|error| match error {
        // The chain is the sender's, not the caller's: to him the request is bad.
        Error::Misuse { .. } => Rejected::Contradiction { field: "root_chain" }.into(),
        other => other,
    })?;
    let contradiction = |field| Err(Rejected::Contradiction { field }.into());
    if role != request.header().role.name() {
        return contradiction("role");
    }
    if version != request.header().version {
        return contradiction("version");
    }
    if !signers.iter().eq(&derived(&request.requirements)) {
        return contradiction("signers");
    }
    for WrittenSignature { keyid, sig } in signatures {
        if request.signatures.contains_key(&keyid) {
            return Err(Rejected::DuplicateSignature { keyid }.into());
        }
        request.accept(&keyid, &from_hex(&sig, "sig")?)?;
    }
    Ok(request)
}

fn parse(file: &[u8]) -> Result<Written<Text<'_>>, Error> {
    match serde_json::from_slice::<Written<Text<'_>>>(file) {
        Ok(written) if written.kind == KIND && written.format == FORMAT => Ok(written),
        other => Err(no_request(file, other.err())),
    }
}

/// Why a file is no request. It is read once more for that, so that a newer format is told by its number, whatever else
/// is new in it.
fn no_request(file: &[u8], error: Option<serde_json::Error>) -> Error {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "_type", default)]
        kind: Value,
        #[serde(default)]
        format: Value,
    }
    if let Some(error) = error.as_ref().filter(|error| !error.is_data()) {
        return Rejected::NotJson { message: error.to_string() }.into();
    }
    match serde_json::from_slice(file) {
        Ok(Head { kind, format: Value::Number(format) })
            if kind == KIND && format.as_u64() != Some(FORMAT) =>
        {
            Rejected::UnknownFormat { found: format.to_string() }.into()
        }
        Ok(Head { kind, .. }) if kind == KIND => {
            let message = error.map_or_else(String::new, |error| error.to_string());
            Rejected::NotARequest { message }.into()
        }
        _ => Rejected::NotARequest { message: format!("`_type` is not {KIND}") }.into(),
    }
}

/// Writes a request's file: the same request always gives the same bytes.
pub(super) fn write(request: &Request, out: &mut dyn Write) -> io::Result<()> {
    fn step(step: &Step) -> WrittenStep<AsBase64<'_>> {
        WrittenStep { role: step.role.name().to_owned(), file: AsBase64(&step.file) }
    }
    let signature =
        |(keyid, sig): (&String, &Vec<u8>)| WrittenSignature { keyid: keyid.clone(), sig: hex(sig) };
    let written = Written {
        kind: KIND.to_owned(),
        format: FORMAT,
        role: request.header().role.name().to_owned(),
        version: request.header().version,
        payload: AsBase64(request.payload()),
        root_chain: request.chain.files().iter().map(|file| AsBase64(file)).collect(),
        delegated_by: request.way.iter().flat_map(Way::steps).map(step).collect(),
        signers: derived(&request.requirements),
        signatures: request.signatures.iter().map(signature).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &written)?;
    out.write_all(b"\n")
}

fn derived(requirements: &[Requirement]) -> Vec<Signers> {
    let signers = |requirement: &Requirement| Signers {
        by: requirement.by.name().to_owned(),
        version: requirement.version,
        threshold: requirement.threshold,
        keyids: requirement.keys.keys().cloned().collect(),
    };
    requirements.iter().map(signers).collect()
}
