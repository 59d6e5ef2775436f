//! Builds the programs of `hil/measure`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::image::Image;
use crate::{Failure, file};

/// Levels of optimisation. The first one is what budgets are held to.
pub(crate) const OPTIMISATIONS: [&str; 2] = ["z", "s"];

/// The core that the board has.
const TARGET: &str = "thumbv7m-none-eabi";

/// The sources, and where they are built.
pub(crate) struct Firmware {
    source: PathBuf,
    target: PathBuf,
}

/// Six programs. The first four have one thing more each than the one before it.
pub(crate) struct Images {
    /// Reads files.
    pub(crate) plain: Image,
    /// Hashes them.
    pub(crate) sha256: Image,
    /// Verifies them, and takes every signature for good.
    pub(crate) client: Image,
    /// Verifies them.
    pub(crate) p256: Image,
    /// Installs what it verified: the whole agent.
    pub(crate) agent: Image,
    /// A bootloader, which hashes and knows no client.
    pub(crate) boot: Image,
}

impl Firmware {
    /// Fails where the machine cannot build it, or cannot run it: before anything takes long.
    pub(crate) fn find() -> Result<Firmware, Failure> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workspace = workspace.canonicalize().map_err(|error| file(&workspace, error))?;
        let source = workspace.join("hil/measure");
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        let target = target.join("measure");
        // Cargo starts in another directory.
        fs::create_dir_all(&target).map_err(|error| file(&target, error))?;
        let target = target.canonicalize().map_err(|error| file(&target, error))?;

        crate::run::check_emulator()?;
        let said = tool("RUSTC", "rustc", &source)
            .args(["--print", "target-libdir", "--target", TARGET])
            .output()
            .map_err(|error| missing("rustc", &error))?;
        let directory = String::from_utf8_lossy(&said.stdout);
        if !said.status.success() || !Path::new(directory.trim_end()).is_dir() {
            let what = format!(
                "the Rust toolchain has no standard library for {TARGET}: run `rustup target add {TARGET}`"
            );
            return Err(Failure::Environment(what));
        }
        Ok(Firmware { source, target })
    }

    /// All of them, at this level of optimisation.
    pub(crate) fn images(&self, optimisation: &str) -> Result<Images, Failure> {
        Ok(Images {
            plain: self.image(optimisation, "plain", "")?,
            sha256: self.image(optimisation, "sha256", "sha256")?,
            client: self.image(optimisation, "client", "client")?,
            p256: self.image(optimisation, "p256", "p256")?,
            agent: self.image(optimisation, "agent", "agent")?,
            boot: self.image(optimisation, "boot", "boot")?,
        })
    }

    fn image(&self, optimisation: &str, name: &str, features: &str) -> Result<Image, Failure> {
        let done = tool("CARGO", "cargo", &self.source)
            .args(["build", "--release", "--locked", "--color=never", "--target", TARGET])
            .args(["--no-default-features", "--features", features])
            .arg("--target-dir")
            .arg(&self.target)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", optimisation)
            .output()
            .map_err(|error| missing("cargo", &error))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let complaint = said.lines().find(|line| line.starts_with("error")).unwrap_or(said.trim_end());
            let source = self.source.display();
            return Err(Failure::Refused(format!(
                "the firmware does not build: {complaint}; run `cargo build --release` in {source} to see all of it"
            )));
        }
        // The next one would overwrite it.
        let path = self.target.join(format!("{name}-{optimisation}"));
        fs::copy(self.target.join(TARGET).join("release/measure"), &path)
            .map_err(|error| file(&path, error))?;
        Image::read(path)
    }
}

fn missing(tool: &str, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("{tool} cannot be started ({error}): install Rust from https://rustup.rs"))
}

/// A program of the toolchain, free of what the caller's own build was told about the host.
///
/// It starts in the firmware's directory, where rustup finds the toolchain and cargo its configuration.
fn tool(variable: &str, name: &str, source: &Path) -> Command {
    let mut command = Command::new(env::var_os(variable).unwrap_or_else(|| name.into()));
    command.current_dir(source).stdin(Stdio::null());
    for host_only in
        ["CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"]
    {
        command.env_remove(host_only);
    }
    command
}
