//! Signatures that are made elsewhere: by `openssl`, by an HSM's own tool.

use std::path::PathBuf;

use clap::Args;
use tuffet_keys::request::Request;
use tuffet_keys::state::State;
use tuffet_keys::transcript::{Action, Source};
use tuffet_keys::{Error, file};

use super::review::show;
use super::transcript::Recording;
use super::{Output, progress, refuse_existing, write_copy};

#[derive(Args)]
#[command(after_help = "For example with openssl:
  tuffet-keys payload root.request.json --out root.payload
  openssl dgst -sha256 -sign root-a.pem -out root-a.sig root.payload
  tuffet-keys attach root.request.json root-a.sig")]
pub(crate) struct Payload {
    /// The signing request
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// Where the bytes to sign go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Attach {
    /// The signing request
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// Signatures over its payload: DER, or r and s of 32 bytes each; as they are, in hexadecimal or in base64
    #[arg(required = true, value_name = "SIGNATURE")]
    signatures: Vec<PathBuf>,

    /// Where the signed copy goes [default: in the place of REQUEST]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    recording: Recording,
}

/// Writes the very bytes that are signed. Whoever signs them elsewhere has seen what they say.
pub(super) fn payload(
    Payload { request: path, out: target }: &Payload,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let request = Request::read(path)?;
    show(&request, path, &[], state, now, out)?;
    file::create(target, request.payload(), file::Access::Shared)?;
    out.written(target);
    out.put(&format!(
        "wrote {}: the bytes to sign with ECDSA P-256 over their SHA-256; then `tuffet-keys attach {}`\n",
        target.display(),
        path.display()
    ))
}

pub(super) fn attach(
    Attach { request: path, signatures, out: target, recording }: &Attach,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let mut request = Request::read(path)?;
    let target = target.as_ref().unwrap_or(path);
    if target != path {
        refuse_existing(target)?;
    }
    recording.check(&request, Some(target))?;
    let (mut lines, mut signed) = (String::new(), Vec::new());
    for signature in signatures {
        let bytes = file::read(signature)?;
        let keyid = request.attach(&bytes).map_err(|error| error.in_file(signature))?;
        lines += &format!("attached the signature of key {keyid} to {}\n", request.title());
        signed.push(Action::Sign { keyid, source: Source::Detached });
    }
    let recorded = recording.append(&request, signed, now, out)?;
    write_copy(&mut request, target, target == path, out)?;
    out.put(&lines)?;
    progress(&request, out)?;
    out.put(&format!("wrote {}\n{recorded}", target.display()))
}
