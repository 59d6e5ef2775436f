//! Gives the linker each program's memory map, and compiles the log in.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for program in ["boot", "app"] {
        let folder = out.join(program);
        fs::create_dir_all(&folder).expect("OUT_DIR takes a folder");
        fs::copy(format!("{program}.x"), folder.join("memory.x")).expect("the map can be copied to OUT_DIR");
        println!("cargo::rustc-link-arg-bin=sf2-{program}=-L{}", folder.display());
        println!("cargo::rerun-if-changed={program}.x");
    }
    // Said here and not in .cargo/config.toml, which cargo reads only when it is started in that directory.
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bin=sf2-app=-Tdefmt.x");
    // `defmt` drops what is below this level while it compiles, and its own default is errors alone.
    println!("cargo::rustc-env=DEFMT_LOG=info");
}
