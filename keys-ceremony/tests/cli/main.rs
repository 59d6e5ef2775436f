//! The real binary, on real files and SoftHSM's tokens, against the real `openssl` and `pkcs11-tool`.

mod adversary;
mod ceremony;
mod command_line;
mod copies;
mod delegated;
mod detached;
mod keys;
mod known;
mod large;
mod lint;
mod page;
mod preflight;
mod repository;
mod revoke;
mod root_life;
mod sign;
mod special_files;
mod status;
mod support;
mod surface;
mod together;
mod token;
mod token_refusals;
mod transcript;
mod transcripts;
mod tricks;
