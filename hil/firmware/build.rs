//! Gives the linker the board's memory map and the program its version.

use std::{env, fs, path::PathBuf};

/// What the environment calls the version that goes into the image.
const VERSION: &str = "TUFFET_FIRMWARE_VERSION";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // It has another name here: the linker looks into this directory first, and would find it for the boards' programs, too.
    fs::copy("lamp.x", out.join("memory.x")).expect("the memory map can be copied to OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=lamp.x");
    // Said here and not in .cargo/config.toml, which cargo reads only when it is started in this directory.
    println!("cargo::rustc-link-arg-bins=-Tlink.x");

    println!("cargo::rerun-if-env-changed={VERSION}");
    let version = env::var(VERSION).unwrap_or_else(|_| "0.0.0-unversioned".into());
    // The release entry's rule for a version; it also keeps a newline from speaking to cargo.
    if !(1..=32).contains(&version.len()) || !version.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        println!("cargo::error={VERSION} must be 1 to 32 printable ASCII characters, not {version:?}");
        return;
    }
    println!("cargo::rustc-env={VERSION}={version}");
}
