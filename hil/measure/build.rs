//! Gives the linker the board's memory map.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x can be copied to OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=memory.x");
    // Said here and not in .cargo/config.toml, which cargo reads only when it is started in this directory.
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
}
