#!/usr/bin/env python3
"""Publishes with python-tuf what publish_bench.py lets tuffet publish: the same files, keys and roles.

    python_tuf_publish.py first|metadata PUBLIC KEYS LIST
    python_tuf_publish.py more PUBLIC KEYS IMAGE VERSION

PUBLIC is the directory that is served, KEYS has the private keys, LIST a JSON object for each image. `first` makes the
first targets file, `more` puts one release into the role that the delegations give its paths to. Both write images,
release entries, targets files, snapshot and timestamp. `metadata` is `first` without the images, whose digests it takes
where they lie: python-tuf itself copies none.
"""

import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

COMPACT = JSONSerializer(compact=True)
NOW = datetime.now(UTC).replace(microsecond=0)
HOLDERS = {"targets": ["release-a", "release-b"], "snapshot": ["online"], "timestamp": ["online"]}
PRODUCT = ["lamp-a", "lamp-b"]
# As many releases as an entry lists.
NEWEST = 8


class Repository:
    def __init__(self, public: Path, keys: Path, copies: bool = True):
        self.public, self.keys, self.copies, self.signers = public, keys, copies, {}

    def signer(self, name: str) -> CryptoSigner:
        if name not in self.signers:
            secret = load_pem_private_key((self.keys / f"{name}.pem").read_bytes(), None)
            self.signers[name] = CryptoSigner(secret)
        return self.signers[name]

    def load(self, role: str, version: int) -> Metadata:
        return Metadata.from_file(str(self.public / f"{version}.{role}.json"))

    def write(self, role: str, file: Metadata, days: int) -> bytes:
        file.signed.expires = NOW + timedelta(days=days)
        file.signed.unrecognized_fields["issued"] = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        file.signatures.clear()
        for name in HOLDERS.get(role, PRODUCT):
            file.sign(self.signer(name), append=True)
        content = file.to_bytes(COMPACT)
        name = "timestamp.json" if role == "timestamp" else f"{file.signed.version}.{role}.json"
        put(self.public / name, content)
        return content

    def add_image(self, targets: Targets, path: str, image: str) -> TargetFile:
        target = TargetFile.from_file(path, image, ["sha256"])
        targets.targets[path] = target
        if self.copies:
            place = self.place(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, place)
        return target

    def add_entry(self, targets: Targets, path: str, candidates: list[dict]) -> None:
        custom = {"candidates": candidates, "format": 1}
        content = json.dumps(custom, sort_keys=True, separators=(",", ":")).encode()
        target = TargetFile.from_data(path, content, ["sha256"])
        target.unrecognized_fields["custom"] = custom
        targets.targets[path] = target
        place = self.place(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        put(place, content)

    def place(self, target: TargetFile) -> Path:
        directory, name = target.path.rsplit("/", 1)
        return self.public / "targets" / directory / f"{target.hashes['sha256']}.{name}"

    def publish(self, files: dict[str, bytes], roles: dict[str, Metadata], snapshot: Metadata, timestamp: Metadata):
        for role, content in files.items():
            meta = MetaFile.from_data(roles[role].signed.version, content, ["sha256"])
            snapshot.signed.meta[f"{role}.json"] = meta
        content = self.write("snapshot", snapshot, 30)
        timestamp.signed.snapshot_meta = MetaFile.from_data(snapshot.signed.version, content, ["sha256"])
        self.write("timestamp", timestamp, 7)


def put(path: Path, content: bytes) -> None:
    """Under another name first, as whoever publishes must who does not want half a file to be seen."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def candidate(target: TargetFile, version: str, sequence: int) -> dict:
    image = {"hashes": target.hashes, "length": target.length, "path": target.path}
    return {"counter": 0, "image": image, "minimum": 0, "sequence": sequence, "version": version}


def first(repository: Repository, lines: Path) -> None:
    targets, entries, sequences = Metadata(Targets()), {}, {}
    for line in lines.read_text().splitlines():
        release = json.loads(line)
        place = f"lamp/{release['hardware']}"
        path = f"{place}/versions/{release['version']}/{os.path.basename(release['image'])}"
        target = repository.add_image(targets.signed, path, release["image"])
        sequences[place] = sequences.get(place, 0) + 1
        listed = entries.setdefault(f"{place}/{release['channel']}/release", [])
        listed.insert(0, candidate(target, release["version"], sequences[place]))
        del listed[NEWEST:]
    for path, candidates in entries.items():
        repository.add_entry(targets.signed, path, candidates)
    files = {"targets": repository.write("targets", targets, 180)}
    repository.publish(files, {"targets": targets}, Metadata(Snapshot()), Metadata(Timestamp()))


def more(repository: Repository, image: str, version: str) -> None:
    timestamp = Metadata.from_file(str(repository.public / "timestamp.json"))
    snapshot = repository.load("snapshot", timestamp.signed.snapshot_meta.version)
    roles: dict[str, Metadata] = {}

    def role(name: str) -> Metadata:
        if name not in roles:
            roles[name] = repository.load(name, snapshot.signed.meta[f"{name}.json"].version)
        return roles[name]

    def role_of(path: str) -> str:
        name = "targets"
        while delegations := role(name).signed.delegations:
            below = next((below for below, _ in delegations.get_roles_for_target(path)), None)
            if below is None:
                break
            name = below
        return name

    path = f"lamp/rev-a/versions/{version}/{os.path.basename(image)}"
    entry = "lamp/rev-a/stable/release"
    changed = {role_of(path), role_of(entry)}
    target = repository.add_image(role(role_of(path)).signed, path, image)
    listed = role(role_of(entry)).signed.targets[entry].unrecognized_fields["custom"]["candidates"]
    newest = candidate(target, version, listed[0]["sequence"] + 1)
    repository.add_entry(role(role_of(entry)).signed, entry, [newest, *listed][:NEWEST])
    for name in changed:
        role(name).signed.version += 1
    snapshot.signed.version += 1
    timestamp.signed.version += 1
    files = {name: repository.write(name, role(name), 180) for name in changed}
    repository.publish(files, roles, snapshot, timestamp)


def main() -> int:
    match sys.argv[1:]:
        case ["first" | "metadata" as what, public, keys, lines]:
            first(Repository(Path(public), Path(keys), what == "first"), Path(lines))
        case ["more", public, keys, image, version]:
            more(Repository(Path(public), Path(keys)), image, version)
        case _:
            print(__doc__.split("\n\n")[1], file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
