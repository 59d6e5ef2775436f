//! `tuffet bundle`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tuffet::Error;
use tuffet::bundle::{self, Order, Part, Report};
use tuffet::release::Channel;
use tuffet::repository::Workspace;
use tuffet_client::time::Date;

use super::Facts;
use super::args::{DryRun, Place};

#[derive(Args)]
pub(crate) struct Bundle {
    #[command(flatten)]
    place: Place,

    /// The release [default: the channel's newest]
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,

    /// Leave out roots up to this one, which all these devices have [default: 1, for any device]
    #[arg(long, value_name = "N")]
    from_root: Option<u32>,

    /// The bundle; an older one of that name is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    dry_run: DryRun,
}

pub(super) fn run(repo: &Path, command: &Bundle, now: u64) -> Result<Facts, Error> {
    let Bundle { place, version, from_root, out, dry_run: DryRun { dry_run } } = command;
    let workspace = Workspace::open(repo)?;
    let channel = Channel::find(workspace.config(), &place.wanted())?;
    let order = Order { channel, version: version.clone(), from_root: *from_root };
    let mut source = Arc::clone(workspace.store());
    let draft = bundle::draft(&mut source, &workspace.first_root()?, &order, now)?;
    let (verb, report) = match dry_run {
        true => {
            draft.check(&mut source)?;
            ("would write", draft.report().clone())
        }
        false => ("wrote", draft.write(&mut source, out)?),
    };

    let Report {
        channel,
        release,
        before,
        from_root,
        good_until: (role, expires),
        not_before,
        files,
        length,
    } = &report;
    let (sequence, minimum) = (release.sequence, release.minimum);
    let mut lines = vec![
        format!("{verb} {}, {length} bytes", out.display()),
        format!("it brings release {sequence} of {channel}, version {}", release.version),
        format!("to devices that have root {from_root} or a later one"),
        format!("until {}, when {} expires", Date(*expires), role.name()),
    ];
    if !before.is_empty() {
        lines.push(format!(
            "if they may not have {}: that comes first, and is not in it",
            before.join(" or ")
        ));
    }
    if minimum > 0 {
        lines.push(format!("and run release {minimum} or a later one"));
    }
    if let Some(turn) = not_before {
        lines.push(format!("from {} on, when its rollout begins", Date(*turn)));
    }
    lines.extend(
        files.iter().map(|Part { name, offset, length }| format!("{offset:>10} {length:>10} {name}")),
    );
    let files: Vec<_> = files
        .iter()
        .map(|Part { name, offset, length }| json!({ "name": name, "offset": offset, "length": length }))
        .collect();
    let json = json!({
        "bundle": out,
        "length": length,
        "channel": channel.to_string(),
        "sequence": sequence,
        "version": release.version.as_str(),
        "before": before,
        "minimum": minimum,
        "from_root": from_root,
        "good_until": Date(*expires).to_string(),
        "not_before": not_before.map(|turn| Date(turn).to_string()),
        "files": files,
        "dry_run": dry_run,
    });
    Ok(Facts { lines, json })
}
