//! The command line that the TUF project's conformance suite asks of a client:
//!
//! ```text
//! CLIENT --metadata-dir DIR init ROOT
//! CLIENT --metadata-dir DIR --metadata-url URL refresh
//! CLIENT --metadata-dir DIR --metadata-url URL --target-name PATH --target-base-url URL --target-dir DIR download
//! ```
//!
//! Options may stand anywhere, `--target-name` more than once. Status 0: done; 1: refused, with the reason on stderr.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Most bytes of a snapshot or targets file: the largest repository in `generate.py` needs 12 MB. As shipped the
/// clients stop at 1 to 10 MB, and a comparison of refusals is no comparison.
pub const MOST_METADATA: u64 = 64 << 20;

/// What the command line says.
#[derive(Default)]
pub struct Arguments {
    /// Where the client keeps what it trusts.
    pub metadata_dir: PathBuf,
    /// `init`, `refresh` or `download`.
    pub command: String,
    /// What `init` is to trust.
    pub root: PathBuf,
    /// Where the repository's metadata is.
    pub metadata_url: String,
    /// Target paths to download.
    pub target_names: Vec<String>,
    /// Where the repository's targets are.
    pub target_base_url: String,
    /// Where targets go.
    pub target_dir: PathBuf,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// If it is not as above.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut arguments = Arguments::default();
        let mut positional = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                positional.push(word);
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--metadata-dir" => arguments.metadata_dir = value.into(),
                "--metadata-url" => arguments.metadata_url = value,
                "--target-name" => arguments.target_names.push(value),
                "--target-base-url" => arguments.target_base_url = value,
                "--target-dir" => arguments.target_dir = value.into(),
                _ => return Err(format!("unknown option {word}").into()),
            }
        }
        let mut positional = positional.into_iter();
        arguments.command = positional.next().unwrap_or_default();
        arguments.root = positional.next().unwrap_or_default().into();
        let complete = !arguments.metadata_dir.as_os_str().is_empty()
            && match arguments.command.as_str() {
                "init" => !arguments.root.as_os_str().is_empty(),
                "refresh" => !arguments.metadata_url.is_empty(),
                "download" => {
                    !arguments.metadata_url.is_empty()
                        && !arguments.target_names.is_empty()
                        && !arguments.target_base_url.is_empty()
                        && !arguments.target_dir.as_os_str().is_empty()
                }
                _ => false,
            };
        if positional.next().is_some() || !complete {
            return Err(
                "usage: CLIENT --metadata-dir DIR [OPTION VALUE]... init ROOT | refresh | download".into()
            );
        }
        Ok(arguments)
    }

    /// The file of the trusted root. The suite wants every role under its name without a version.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.metadata_dir.join("root.json")
    }

    /// Trusts a root without looking at it, as the protocol asks: a client verifies it when it uses it.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn init(&self) -> Result<(), Box<dyn Error>> {
        std::fs::create_dir_all(&self.metadata_dir)?;
        std::fs::copy(&self.root, self.root_file())?;
        Ok(())
    }
}

/// Runs a client on one thread: with several, CPU time would depend on how they happen to share the work.
///
/// # Panics
/// If there is no runtime to be had.
pub fn run<F>(client: impl FnOnce(Arguments) -> F) -> ExitCode
where
    F: Future<Output = Result<(), Box<dyn Error>>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(async { client(Arguments::parse(std::env::args().skip(1))?).await });
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    eprintln!("{reason}");
    ExitCode::FAILURE
}
