//! The real binary, on real files, against the real `openssl`.

mod ceremony;
mod keys;
mod sign;
mod support;
mod surface;
mod together;
