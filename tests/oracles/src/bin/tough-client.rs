//! The client of the crate `tough`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tough::{HttpTransportBuilder, Limits, Prefix, RepositoryLoader, TargetName};
use tuffet_oracles::{Arguments, MOST_METADATA};
use url::Url;

fn main() -> ExitCode {
    tuffet_oracles::run(client)
}

async fn client(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.command == "init" {
        return arguments.init();
    }
    let root = std::fs::read(arguments.root_file())?;
    let metadata = Url::parse(&arguments.metadata_url)?;
    // A refresh asks for no target; the loader wants a place for them all the same.
    let targets = match arguments.target_base_url.as_str() {
        "" => metadata.clone(),
        base => Url::parse(base)?,
    };
    // Before each request it waits for the time that a retry would wait: 100 ms that a loopback does not need.
    let transport = HttpTransportBuilder::new().initial_backoff(Duration::ZERO).build();
    let limits =
        Limits { max_snapshot_size: MOST_METADATA, max_targets_size: MOST_METADATA, ..Limits::default() };
    // The datastore takes the root as it takes the other roles, so the next run starts from the newest one.
    let repository = RepositoryLoader::new(&root, metadata, targets)
        .transport(transport)
        .limits(limits)
        .datastore(&arguments.metadata_dir)
        .load()
        .await?;
    if arguments.command == "download" {
        std::fs::create_dir_all(&arguments.target_dir)?;
        for name in &arguments.target_names {
            repository.save_target(&TargetName::new(name)?, &arguments.target_dir, Prefix::None).await?;
        }
    }
    Ok(())
}
