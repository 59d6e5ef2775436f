//! Gives the linker a memory map for each of the two programs, and compiles the log in.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // cortex-m-rt's script includes a file of this name; each program finds its own.
    for (program, map) in [("microbit-boot", "boot.x"), ("microbit-app", "app.x")] {
        let folder = out.join(program);
        fs::create_dir_all(&folder).expect("OUT_DIR can be written");
        fs::copy(map, folder.join("memory.x")).expect("the memory map can be copied");
        println!("cargo::rustc-link-arg-bin={program}=-L{}", folder.display());
        println!("cargo::rustc-link-arg-bin={program}=-Tlink.x");
        // Or the linker loads the file's own head below the application, where the bootloader is.
        println!("cargo::rustc-link-arg-bin={program}=--nmagic");
        println!("cargo::rerun-if-changed={map}");
    }
    println!("cargo::rustc-link-arg-bin=microbit-app=-Tdefmt.x");
    // `defmt` drops what is below this level while it compiles, and its own default is errors alone.
    println!("cargo::rustc-env=DEFMT_LOG=info");
    println!("cargo::rerun-if-changed=build.rs");
}
