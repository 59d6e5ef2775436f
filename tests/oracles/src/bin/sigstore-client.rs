//! The client of the crate `sigstore-tuf`.

use std::error::Error;
use std::process::ExitCode;

use jiff::Timestamp;
use sigstore_tuf::{FileStore, HttpRepository, MetadataStore, Updater, UpdaterConfig};
use tuffet_oracles::{Arguments, MOST_METADATA};

fn main() -> ExitCode {
    tuffet_oracles::run(client)
}

async fn client(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.command == "init" {
        return arguments.init();
    }
    let root = std::fs::read(arguments.root_file())?;
    let mut repository = HttpRepository::new(&arguments.metadata_url)?;
    if !arguments.target_base_url.is_empty() {
        repository = repository.with_targets_base(&arguments.target_base_url)?;
    }
    let mut config = UpdaterConfig::default();
    config.snapshot_max_length = MOST_METADATA;
    config.targets_max_length = MOST_METADATA;
    let store = Roles(FileStore::new(&arguments.metadata_dir));
    let mut updater = Updater::new(repository, &root)?.with_config(config).with_store(store);
    // Its own updates take the time from the caller; once, so that no file expires in the middle of one.
    let now = Timestamp::now();
    updater.refresh(now).await?;
    if arguments.command == "download" {
        std::fs::create_dir_all(&arguments.target_dir)?;
        for name in &arguments.target_names {
            let bytes = updater.get_target(name, now).await?;
            // A path may hold anything, a file name no slash.
            let file = name.replace('%', "%25").replace('/', "%2F");
            std::fs::write(arguments.target_dir.join(file), bytes)?;
        }
    }
    Ok(())
}

/// The crate's store without what the conformance suite would take for a role: targets that it caches, so that it
/// downloads them as often as the other clients do, and the snapshot's second copy under its versioned name.
struct Roles(FileStore);

impl MetadataStore for Roles {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        self.0.load(name)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        if name.starts_with("targets/") || name.ends_with(".snapshot.json") {
            return Ok(());
        }
        self.0.store(name, bytes)
    }
}
