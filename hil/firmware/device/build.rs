//! Compiles the log in. `defmt` drops what is below this level while it compiles, and its own default is errors alone.

fn main() {
    println!("cargo::rustc-env=DEFMT_LOG=info");
    println!("cargo::rerun-if-changed=build.rs");
}
