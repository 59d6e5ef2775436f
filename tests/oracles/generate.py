#!/usr/bin/env python3
"""Generates repositories for the benchmarks and the differential test.

    generate.py flat-100k|bins-16k|four-roles|delegated DIR
    generate.py cases DIR

Each has `metadata/` and `targets/`, as a web server would serve them, and `wanted.json`: the target to download and
its SHA-256. `cases` makes a repository for each case of cases.py and `manifest.json`, which says what to expect.
The same bytes every time, RSA signatures apart.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import cases
from repository import Repository, Role, key, signed

FIRMWARE = 65_536


def main() -> int:
    parser = argparse.ArgumentParser(usage="generate.py NAME DIR")
    parser.add_argument("name", choices=[*REPOSITORIES, "cases"])
    parser.add_argument("dir", type=Path)
    arguments = parser.parse_args()
    if arguments.dir.exists() and any(arguments.dir.iterdir()):
        parser.error(f"{arguments.dir} is not empty")
    if arguments.name == "cases":
        manifest(arguments.dir)
    else:
        repository, wanted = REPOSITORIES[arguments.name]()
        repository.write(arguments.dir)
        digest = hashlib.sha256(firmware(wanted)).hexdigest()
        (arguments.dir / "wanted.json").write_text(json.dumps({"target": wanted, "sha256": digest}) + "\n")
    return 0


def firmware(path: str) -> bytes:
    """Bytes that look like firmware to a digest: many, and different for each path."""
    return hashlib.shake_256(path.encode()).digest(FIRMWARE)


def flat_100k() -> tuple[Repository, str]:
    """100,000 targets in one file, as a release team has after years without delegations."""
    repository = Repository()
    paths = []
    for number in range(100_000):
        version = f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
        paths.append(f"lamp/rev-a/versions/{version}/lamp-{number:05}.bin")
        digest = hashlib.sha256(paths[-1].encode()).hexdigest()
        repository.targets.signed["targets"][paths[-1]] = {"hashes": {"sha256": digest}, "length": FIRMWARE}
    # In the middle, so that neither a reader that stops early nor one that starts late gains by it.
    wanted = sorted(paths)[50_000]
    repository.add(wanted, firmware(wanted))
    return repository, wanted


def bins_16k() -> tuple[Repository, str]:
    """2^14 hash bins by TAP 15, one of which holds the one target; the snapshot lists all of them."""
    repository = Repository()
    bits, holder = 14, key("bins")
    wanted = "lamp/rev-a/versions/0.1.2/lamp-00042.bin"
    repository.targets.signed["delegations"] = {
        "keys": {holder.keyid: holder.object},
        "succinct_roles": {"bit_length": bits, "keyids": [holder.keyid], "name_prefix": "bin", "threshold": 1},
    }
    for number in range(1 << bits):
        repository.delegated[f"bin-{number:04x}"] = Role(signed("targets", targets={}), [holder])
    repository.add(wanted, firmware(wanted), cases.bin_of(wanted, bits))
    return repository, wanted


def four_roles() -> tuple[Repository, str]:
    """The smallest repository there is: four roles, one target."""
    repository = Repository()
    wanted = "lamp/rev-a/versions/0.1.2/lamp.bin"
    repository.add(wanted, firmware(wanted))
    return repository, wanted


def delegated() -> tuple[Repository, str]:
    """A product's own role, as a release team makes it when products get teams of their own."""
    repository = Repository()
    wanted = "lamp/rev-a/versions/0.1.2/lamp.bin"
    keys = [key(f"lamp-{each}") for each in "abc"]
    repository.delegate("targets", "lamp", keys, 2, paths=["lamp/*/*/*", "lamp/*/versions/*/*"])
    repository.add(wanted, firmware(wanted), "lamp")
    entry = "lamp/rev-a/stable/release"
    repository.add(entry, firmware(entry), "lamp")
    return repository, wanted


REPOSITORIES = {"flat-100k": flat_100k, "bins-16k": bins_16k, "four-roles": four_roles, "delegated": delegated}


def manifest(directory: Path) -> None:
    entries = []
    for case in cases.CASES:
        repository, before = case.make()
        repository.write(directory / case.name)
        if before:
            before.write(directory / case.name / "before")
        entry = dataclasses.asdict(case, dict_factory=lambda items: {k: v for k, v in items if k != "change"})
        entry |= {"before": bool(before), "target": repository.wanted}
        entry["sha256"] = hashlib.sha256(repository.content).hexdigest() if case.expected == "accept" else None
        entries.append(entry)
    (directory / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
