//! Builds the demo's firmware and flattens it: from `hil/firmware` to the bytes that a slot holds.
//!
//! The image is taken from the linker's output here, by its load addresses, because a fresh machine has no
//! `objcopy`.

use core::ops::Range;
use std::{
    env, error, fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use object::{
    LittleEndian,
    elf::{EM_ARM, FileHeader32, PT_LOAD},
    read::elf::{FileHeader, ProgramHeader},
};

/// The core that the board has.
const TARGET: &str = "thumbv7m-none-eabi";

/// Where the board's flash is; `FLASH` in `hil/firmware/lamp.x`.
const FLASH: Range<u32> = 0..0x0040_0000;

/// What flash holds where nothing was written.
const ERASED: u8 = 0xff;

/// Why there is no image. All of it is the machine's doing, nothing a device could meet.
#[derive(Debug)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The sources are not where they were when this program was compiled.
    SourceMissing(PathBuf),
    /// A program of the Rust toolchain could not be started.
    ToolMissing {
        /// `cargo` or `rustc`.
        tool: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The toolchain cannot build for this target.
    TargetMissing(String),
    /// `cargo build` failed.
    Build {
        /// Where it ran.
        directory: PathBuf,
        /// Its first complaint.
        complaint: String,
    },
    /// A file or directory of the build could not be used.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The linker's output is no image for the board.
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: &'static str,
    },
}

/// Builds the firmware as `version` and returns its flash image, which starts at the vector table.
///
/// `build_directory` is as for [`Build::run`].
///
/// # Errors
///
/// [`FirmwareError`], whose message says what to do next. Cargo needs the network once, for the crates that
/// `hil/firmware/Cargo.lock` names.
pub fn build(version: &str, build_directory: &Path) -> Result<Vec<u8>, FirmwareError> {
    let build = Build {
        target: TARGET,
        arguments: &["--release"],
        environment: &[("TUFFET_FIRMWARE_VERSION", version)],
        programs: ["release/firmware"],
    };
    let [elf] = build.run(build_directory)?;
    let path = build_directory.join(TARGET).join("release/firmware");
    flat_image(&elf, FLASH).map_err(|flaw| FirmwareError::Layout { path, flaw })
}

/// Programs of `hil/firmware`.
#[derive(Clone, Copy, Debug)]
pub struct Build<'b, const N: usize> {
    /// The target.
    pub target: &'b str,
    /// What cargo is told besides.
    pub arguments: &'b [&'b str],
    /// Variables of the environment, and what they are.
    pub environment: &'b [(&'b str, &'b str)],
    /// Where the programs are, below the target's directory.
    pub programs: [&'b str; N],
}

impl<const N: usize> Build<'_, N> {
    /// Builds them, and gives what the linker left.
    ///
    /// `build_directory` is created if need be and keeps cargo's intermediate files: with the same one again only
    /// the programs themselves are compiled. Builds in one directory wait for each other.
    ///
    /// # Errors
    ///
    /// [`FirmwareError`], whose message says what to do next. Cargo needs the network once, for the crates that
    /// `hil/firmware/Cargo.lock` names.
    pub fn run(&self, build_directory: &Path) -> Result<[Vec<u8>; N], FirmwareError> {
        let source = source()?;
        check_target(&source, self.target)?;

        let file = |path: &Path, cause| FirmwareError::File { path: path.into(), cause };
        fs::create_dir_all(build_directory).map_err(|cause| file(build_directory, cause))?;
        // Cargo starts in another directory.
        let build_directory = build_directory.canonicalize().map_err(|cause| file(build_directory, cause))?;

        // Cargo's own lock ends with the build, and the next version would overwrite this one before it is read.
        let lock_path = build_directory.join("version.lock");
        let lock = File::create(&lock_path).map_err(|cause| file(&lock_path, cause))?;
        lock.lock().map_err(|cause| file(&lock_path, cause))?;

        self.run_cargo(&source, &build_directory)?;
        let mut programs = [const { Vec::new() }; N];
        for (program, name) in programs.iter_mut().zip(self.programs) {
            let path = build_directory.join(self.target).join(name);
            *program = fs::read(&path).map_err(|cause| file(&path, cause))?;
        }
        Ok(programs)
    }

    fn run_cargo(&self, source: &Path, build_directory: &Path) -> Result<(), FirmwareError> {
        let done = tool("CARGO", "cargo", source)
            .args(["build", "--locked", "--color=never", "--target", self.target])
            .args(self.arguments)
            .arg("--manifest-path")
            .arg(source.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(build_directory)
            .envs(self.environment.iter().copied())
            .output()
            .map_err(|cause| FirmwareError::ToolMissing { tool: "cargo".into(), cause })?;
        if done.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&done.stderr);
        let complaint = stderr.lines().find(|line| line.starts_with("error")).unwrap_or(stderr.trim_end());
        Err(FirmwareError::Build { directory: source.into(), complaint: complaint.into() })
    }
}

/// A directory for [`build`] that lasts: beside what cargo made of this workspace.
#[must_use]
pub fn build_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace.join(target).join("firmware")
}

fn source() -> Result<PathBuf, FirmwareError> {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hil/firmware");
    expected.canonicalize().map_err(|_| FirmwareError::SourceMissing(expected))
}

fn check_target(source: &Path, target: &str) -> Result<(), FirmwareError> {
    let mut rustc = tool("RUSTC", "rustc", source);
    let said = rustc
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|cause| FirmwareError::ToolMissing { tool: "rustc".into(), cause })?;
    let directory = String::from_utf8_lossy(&said.stdout);
    if said.status.success() && Path::new(directory.trim_end()).is_dir() {
        Ok(())
    } else {
        Err(FirmwareError::TargetMissing(target.into()))
    }
}

/// A program of the toolchain, free of what the caller's own build was told about the host.
///
/// It starts in the firmware's directory, where rustup finds the toolchain and cargo its configuration.
fn tool(variable: &str, name: &str, source: &Path) -> Command {
    let mut command = Command::new(env::var_os(variable).unwrap_or_else(|| name.into()));
    command.current_dir(source).stdin(Stdio::null());
    for host_only in [
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ] {
        command.env_remove(host_only);
    }
    command
}

/// The segments of `elf` at their load addresses, as one piece from the start of `flash`.
///
/// # Errors
///
/// What is wrong with it: a flaw of the linker's, or a file that is none of its.
pub fn flat_image(elf: &[u8], flash: Range<u32>) -> Result<Vec<u8>, &'static str> {
    const CUT: &str = "it is no whole ELF file for a 32-bit little-endian core";
    let header = FileHeader32::<LittleEndian>::parse(elf).map_err(|_| CUT)?;
    let endian = header.endian().map_err(|_| CUT)?;
    if header.e_machine(endian) != EM_ARM {
        return Err("it is for another architecture than Arm");
    }
    let mut image = Vec::new();
    let mut written: Vec<Range<usize>> = Vec::new();
    for segment in header.program_headers(endian, elf).map_err(|_| CUT)? {
        let bytes = segment.data(endian, elf).map_err(|()| CUT)?;
        if segment.p_type(endian) != PT_LOAD || bytes.is_empty() {
            continue;
        }
        let start = segment.p_paddr(endian);
        let fits = u32::try_from(bytes.len()).ok().and_then(|length| start.checked_add(length));
        if !flash.contains(&start) || fits.is_none_or(|end| end > flash.end) {
            return Err("a segment is loaded outside the board's flash");
        }
        let from = (start - flash.start) as usize;
        let place = from..from + bytes.len();
        if written.iter().any(|other| other.start < place.end && place.start < other.end) {
            return Err("two segments are loaded to the same place");
        }
        if image.len() < place.end {
            image.resize(place.end, ERASED);
        }
        image[place.clone()].copy_from_slice(bytes);
        written.push(place);
    }
    if written.iter().all(|place| place.start != 0) {
        return Err("nothing is loaded to the start of flash, where the vector table belongs");
    }
    Ok(image)
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceMissing(path) => write!(
                f,
                "the firmware's sources are not at {}: run the program that was built in this checkout",
                path.display()
            ),
            Self::ToolMissing { tool, cause } => {
                write!(f, "{tool} cannot be started ({cause}): install Rust from https://rustup.rs")
            }
            Self::TargetMissing(target) => write!(
                f,
                "the Rust toolchain has no standard library for {target}: run `rustup target add {target}`"
            ),
            Self::Build { directory, complaint } => write!(
                f,
                "the firmware does not build: {complaint}; run `cargo build --release` in {} to see all of it",
                directory.display()
            ),
            Self::File { path, cause } => {
                write!(f, "{}: {cause}; the firmware's build needs it", path.display())
            }
            Self::Layout { path, flaw } => {
                write!(f, "{}: {flaw}; compare it with hil/firmware/lamp.x", path.display())
            }
        }
    }
}

impl error::Error for FirmwareError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::ToolMissing { cause, .. } | Self::File { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RAM` in `hil/firmware/lamp.x`, end included: a stack grows down from there.
    const STACK_TOPS: core::ops::RangeInclusive<u32> = 0x2000_0000..=0x2040_0000;

    fn word(image: &[u8], index: usize) -> u32 {
        u32::from_le_bytes(image[4 * index..][..4].try_into().unwrap())
    }

    /// An ELF file with these segments: type, load address, content.
    fn elf(segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for half in [2_u16, 40] {
            file.extend(half.to_le_bytes());
        }
        for word in [1_u32, 1, 52, 0, 0x0500_0200] {
            file.extend(word.to_le_bytes());
        }
        for half in [52_u16, 32, segments.len() as u16, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut at = 52 + 32 * segments.len() as u32;
        for &(kind, address, content) in segments {
            let length = content.len() as u32;
            // Type, offset, virtual and physical address, sizes in the file and in memory, flags, alignment.
            for word in [kind, at, 0x2000_0000, address, length, length + 8, 5, 4] {
                file.extend(word.to_le_bytes());
            }
            at += length;
        }
        for (_, _, content) in segments {
            file.extend(*content);
        }
        file
    }

    #[test]
    fn firmware_of_three_versions_is_three_bootable_images() {
        let images = ["0.9.0", "1.0.0", "1.1.0"].map(|version| {
            let image = build(version, &build_directory()).unwrap();
            assert!((256..64 << 10).contains(&image.len()), "{} bytes", image.len());

            let (stack, reset) = (word(&image, 0), word(&image, 1));
            assert!(STACK_TOPS.contains(&stack) && stack % 8 == 0, "initial stack pointer {stack:#x}");
            assert_eq!(reset % 2, 1, "the reset vector {reset:#x} says Thumb");
            // 16 words: the core's own exceptions.
            assert!((64..image.len() as u32).contains(&reset), "reset vector {reset:#x}");

            let identity = format!("lamp/mps2-an385 {version}");
            let found = image.windows(identity.len()).filter(|window| *window == identity.as_bytes());
            assert_eq!(found.count(), 1);
            image
        });
        assert!(images[0] != images[1] && images[1] != images[2] && images[0] != images[2]);
        assert!(
            build("1.0.0", &build_directory()).unwrap() == images[1],
            "the same version is the same bytes"
        );
    }

    #[test]
    fn firmware_with_an_impossible_version_is_refused_by_its_build() {
        for version in ["", "1.0\n0", "1.0.0-and-a-name-that-is-far-too-long"] {
            let error = build(version, &build_directory()).unwrap_err();
            assert!(matches!(error, FirmwareError::Build { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("TUFFET_FIRMWARE_VERSION must be 1 to 32"), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn build_directory_that_is_a_file_is_reported_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = build("1.0.0", file.path()).unwrap_err();
        assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn segments_apart_are_joined_by_erased_bytes() {
        let file = elf(&[(1, 8, b"code"), (4, 0x5000_0000, b"note"), (1, 0, b"vect"), (1, 0x2000_0000, b"")]);
        assert_eq!(flat_image(&file, FLASH).unwrap(), b"vect\xff\xff\xff\xffcode");
    }

    #[test]
    fn segments_that_fill_the_flash_are_accepted() {
        let last = FLASH.end - 4;
        let image = flat_image(&elf(&[(1, 0, b"vect"), (1, last, b"last")]), FLASH).unwrap();
        assert_eq!((image.len(), &image[last as usize..]), (FLASH.end as usize, &b"last"[..]));
    }

    #[test]
    fn segment_outside_the_flash_is_refused() {
        for address in [FLASH.end - 3, FLASH.end, 0x2000_0000, u32::MAX] {
            let flaw = flat_image(&elf(&[(1, 0, b"vect"), (1, address, b"data")]), FLASH).unwrap_err();
            assert_eq!(flaw, "a segment is loaded outside the board's flash", "{address:#x}");
        }
    }

    #[test]
    fn segments_that_overlap_are_refused() {
        for (first, second) in [(0, 0), (0, 3), (3, 0)] {
            let flaw = flat_image(&elf(&[(1, first, b"vect"), (1, second, b"code")]), FLASH).unwrap_err();
            assert_eq!(flaw, "two segments are loaded to the same place");
        }
        assert!(flat_image(&elf(&[(1, 4, b"code"), (1, 0, b"vect")]), FLASH).is_ok());
    }

    #[test]
    fn image_without_a_vector_table_is_refused() {
        let flaw = "nothing is loaded to the start of flash, where the vector table belongs";
        assert_eq!(flat_image(&elf(&[(1, 4, b"code")]), FLASH), Err(flaw));
        assert_eq!(flat_image(&elf(&[]), FLASH), Err(flaw));
    }

    #[test]
    fn file_that_is_no_arm_elf_is_refused() {
        let good = elf(&[(1, 0, b"vect")]);
        flat_image(&good, FLASH).unwrap();
        for length in 0..good.len() {
            flat_image(&good[..length], FLASH).unwrap_err();
        }
        for (at, byte) in [(0, b'X'), (4, 2), (5, 2), (18, 62)] {
            let mut bad = good.clone();
            bad[at] = byte;
            flat_image(&bad, FLASH).unwrap_err();
        }
    }
}
