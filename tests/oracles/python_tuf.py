#!/usr/bin/env python3
"""python-tuf behind the command line that the TUF project's conformance suite asks of a client.

    python_tuf.py --metadata-dir DIR [OPTION VALUE]... init ROOT | refresh | download

src/lib.rs has it in full.
"""

import argparse
import shutil
import sys
from pathlib import Path

# The largest repository of generate.py has a targets file of 12 MB; as shipped the client stops at 5.
MOST_METADATA = 64 << 20


def main() -> int:
    arguments = parse()
    root = arguments.metadata_dir / "root.json"
    if arguments.command == "init":
        # Nothing to verify yet, and nothing worth loading the library for.
        arguments.metadata_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.root, root)
        return 0

    from tuf.ngclient import Updater, UpdaterConfig

    config = UpdaterConfig(snapshot_max_length=MOST_METADATA, targets_max_length=MOST_METADATA)
    try:
        updater = Updater(
            metadata_dir=str(arguments.metadata_dir),
            metadata_base_url=arguments.metadata_url,
            target_dir=arguments.target_dir,
            target_base_url=arguments.target_base_url,
            config=config,
            # The newest root of the last run, as the other clients start from.
            bootstrap=root.read_bytes(),
        )
        updater.refresh()
        for name in arguments.target_name:
            target = updater.get_targetinfo(name)
            if target is None:
                raise LookupError(f"no role lists {name}")
            updater.download_target(target)
    # Whatever the library raises, ValueError and KeyError among it, is its way to refuse.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        while error := error.__cause__:
            reason += f": {error}"
        print(reason, file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir")
    parser.add_argument("command", choices=["init", "refresh", "download"])
    parser.add_argument("root", nargs="?")
    arguments = parser.parse_args()
    needed = {
        "init": ["root"],
        "refresh": ["metadata_url"],
        "download": ["metadata_url", "target_name", "target_base_url", "target_dir"],
    }
    if missing := [name for name in needed[arguments.command] if not getattr(arguments, name)]:
        parser.error(f"{arguments.command} needs {', '.join(missing)}")
    if arguments.target_dir:
        Path(arguments.target_dir).mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
