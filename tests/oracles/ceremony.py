#!/usr/bin/env python3
"""Holds a ceremony with tuffet-keys, and asks other programs what they make of it.

    ceremony.py --keys COMMAND --client NAME=COMMAND...

COMMAND of --keys is tuffet-keys. It makes encrypted keys, a root that records periods, devices, a reason and a
transcript, and the root after it, which replaces a root holder and the timestamp key. Then python-tuf reads both roots
and every public key; openssl opens every private key, and signs with them what is below the roots; and each client
downloads a target by root 1 alone. With any one signature taken out of a root none of them may. Exit status: 0 all is as
it should be; 1 not.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from differential import ask, named_command
from repository import Repository, Role, canonical, published

HOLDERS = ["root-a", "root-b", "root-c", "root-d", "release-a", "release-b", "online", "online-2"]
REASON = "c has left, and the timestamp key is a year old"
TARGET, CONTENT = "lamp/rev-a/lamp.bin", b"an image\n"


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--keys", required=True, metavar="COMMAND")
    parser.add_argument("--client", action="append", required=True, type=named_command, metavar="NAME=COMMAND")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        desk = Desk(Path(scratch, "desk"), Path(arguments.keys).resolve())
        desk.ceremony()
        checks = [*private_keys(desk), *python_tuf(desk), *verdicts(desk, dict(arguments.client), Path(scratch))]
    right, all_of = Counter(), Counter()
    for who, what, as_it_should_be in checks:
        all_of[who] += 1
        right[who] += as_it_should_be
        if not as_it_should_be:
            print(f"{who}: WRONG: {what}")
    print("a ceremony of tuffet-keys before other programs")
    for who in all_of:
        print(f"{who}: {right[who]} of {all_of[who]} checks as they should be")
    return 1 if right != all_of else 0


class Desk:
    """Where the ceremony is held."""

    def __init__(self, directory: Path, keys: Path):
        directory.mkdir()
        self.directory, self.keys = directory, keys
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUFFET_")}
        self.environment = inherited | {
            "TUFFET_PASSPHRASE": "correct horse",
            "TUFFET_STATE": str(directory / "state"),
            "TUFFET_TRANSCRIPT": str(directory / "transcript"),
            "WRONG": "battery staple",
        }

    def run(self, *command, stdin: bytes = b"") -> subprocess.CompletedProcess:
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=self.directory, env=self.environment, input=stdin, capture_output=True)

    def tuffet_keys(self, *arguments) -> str:
        done = self.run(self.keys, *arguments)
        if done.returncode:
            raise SystemExit(f"tuffet-keys {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def ceremony(self) -> None:
        for name in HOLDERS:
            self.tuffet_keys("generate", "--out", f"{name}.pem")
        public = lambda *names: [f"{name}.pub.pem" for name in names]
        who = ["--root-key", *public("root-a", "root-b", "root-c"), "--targets-key", *public("release-a", "release-b")]
        online = ["--snapshot-key", *public("online"), "--timestamp-key", *public("online")]
        self.tuffet_keys("root", "draft", *who, *online, "--reason", "the first", "--out", "1.request")
        self.sign(1, ["root-a", "root-b"])
        old_and_new = ["--replace-root-key", *public("root-c", "root-d")]
        old_and_new += ["--replace-timestamp-key", *public("online", "online-2")]
        after = ["--from", "1.root.json", "--reason", REASON]
        self.tuffet_keys("root", "next", *after, *old_and_new, "--out", "2.request")
        # Two of a, b and c, and two of a, b and d: each of the three is needed.
        self.sign(2, ["root-a", "root-c", "root-d"])

    def sign(self, version: int, holders: list[str]) -> None:
        """Lets each holder sign a copy, and finishes the root."""
        request = f"{version}.request"
        copies = [f"{version}.{name}" for name in holders]
        review = json.loads(self.tuffet_keys("review", request, "--output", "json"))
        warnings, repository = len(review["warnings"]), review["repository"]["sha256"]
        for name, copy in zip(holders, copies, strict=True):
            agree = ["--yes", "--despite", str(warnings), "--digest", repository]
            self.tuffet_keys("sign", request, *agree, "--key", f"{name}.pem", "--out", copy)
        self.tuffet_keys("merge", *copies, "--out", f"{version}.signed")
        self.tuffet_keys("finish", f"{version}.signed", "--out", f"{version}.root.json")


class Held:
    """A key pair that tuffet-keys made. openssl signs with its private half."""

    def __init__(self, desk: Desk, name: str):
        self.desk, self.name = desk, name
        text = desk.read(f"{name}.pub.pem").decode()
        self.object = {"keytype": "ecdsa", "keyval": {"public": text}, "scheme": "ecdsa-sha2-nistp256"}
        self.keyid = hashlib.sha256(canonical(self.object)).hexdigest()

    @cache
    def sign(self, message: bytes) -> str:
        passphrase = ["-passin", "env:TUFFET_PASSPHRASE"]
        done = self.desk.run("openssl", "dgst", "-sha256", "-sign", f"{self.name}.pem", *passphrase, stdin=message)
        if done.returncode:
            raise SystemExit(f"openssl signs nothing with {self.name}.pem: {done.stderr.decode()}")
        return done.stdout.hex()

    def verifies(self, message: bytes, signature: str) -> bool:
        """What openssl says with the public half."""
        (self.desk.directory / "signature").write_bytes(bytes.fromhex(signature))
        with_public = ["-verify", f"{self.name}.pub.pem", "-signature", "signature"]
        return self.desk.run("openssl", "dgst", "-sha256", *with_public, stdin=message).returncode == 0


def private_keys(desk: Desk):
    """What openssl makes of the keys, and of the signatures in the roots."""
    for name in HOLDERS:
        pkey = ["openssl", "pkey", "-in", f"{name}.pem", "-pubout", "-passin"]
        opened, wrong = desk.run(*pkey, "env:TUFFET_PASSPHRASE"), desk.run(*pkey, "env:WRONG")
        yield "openssl", f"{name}.pem holds the key of {name}.pub.pem", opened.stdout == desk.read(f"{name}.pub.pem")
        yield "openssl", f"{name}.pem stays shut for another passphrase", wrong.returncode != 0 and not wrong.stdout
        held = Held(desk, name)
        signature = held.sign(b"a message")
        good, bad = held.verifies(b"a message", signature), held.verifies(b"another", signature)
        yield "openssl", f"{name} signs and verifies, and no other message", good and not bad
    held = {each.keyid: each for each in (Held(desk, name) for name in HOLDERS)}
    for version in (1, 2):
        root = json.loads(desk.read(f"{version}.root.json"))
        for each in root["signatures"]:
            key, message, right = held.get(each["keyid"]), canonical(root["signed"]), False
            if key:
                right = key.verifies(message, each["sig"]) and not key.verifies(message + b" ", each["sig"])
            yield "openssl", f"a signature in root {version} is of a holder, and verifies", right


def python_tuf(desk: Desk):
    """What python-tuf reads in the roots and keys, apart from its client."""
    roots = [Metadata[Root].from_bytes(desk.read(f"{version}.root.json")) for version in (1, 2)]
    for version, root in enumerate(roots, 1):
        extra = root.signed.unrecognized_fields
        members = {"devices", "issued", "periods", "reason", *(["transcript"] if version == 2 else [])}
        what = f"root {version} has {', '.join(sorted(members))} beside TUF's members"
        yield "python-tuf", what, members == extra.keys()
        right = root.to_bytes() and root.signed.version == version and root.signed.consistent_snapshot
        yield "python-tuf", f"it reads root {version}", bool(right)
    yield "python-tuf", "root 2 says why", roots[1].signed.unrecognized_fields.get("reason") == REASON
    signers = {"root-a": (0, 1), "root-b": (0, 1), "root-c": (0,), "root-d": (1,), "release-a": (0, 1)}
    signers |= {"release-b": (0, 1), "online": (0, 1), "online-2": (1,)}
    for name, places in signers.items():
        key = SSlibKey.from_crypto(load_pem_public_key(desk.read(f"{name}.pub.pem")))
        found = tuple(place for place, root in enumerate(roots) if root.signed.keys.get(key.keyid) == key)
        yield "python-tuf", f"{name}.pub.pem is the key of that keyid in the roots", found == places
    delegators = [("root 1 by itself", roots[0], roots[0]), ("root 2 by root 1", roots[0], roots[1])]
    for what, above, below in [*delegators, ("root 2 by itself", roots[1], roots[1])]:
        yield "python-tuf", f"verify_delegate takes {what}", verifies(above, below)
    for version in (1, 2):
        for name, file in without_one_signature(desk, version):
            root = Metadata[Root].from_bytes(file)
            taken = all(verifies(above, root) for above in roots[max(version - 2, 0) : version])
            yield "python-tuf", f"verify_delegate refuses root {version} without {name}", not taken
    yield "python-tuf", "a TrustedMetadataSet takes both roots", trusts([desk.read(f"{n}.root.json") for n in (1, 2)])
    for name, file in without_one_signature(desk, 2):
        right = not trusts([desk.read("1.root.json"), file])
        yield "python-tuf", f"a TrustedMetadataSet refuses root 2 without {name}", right


def verifies(above: Metadata, below: Metadata) -> bool:
    try:
        above.signed.verify_delegate("root", below.signed_bytes, below.signatures)
    except RepositoryError:
        return False
    return True


def trusts(files: list[bytes]) -> bool:
    try:
        trusted = TrustedMetadataSet(files[0], EnvelopeType.METADATA)
        for file in files[1:]:
            trusted.update_root(file)
    except RepositoryError:
        return False
    return trusted.root.version == len(files)


def without_one_signature(desk: Desk, version: int):
    """The root as it was finished, one signature after the other left out: whose, and the file."""
    file = desk.read(f"{version}.root.json")
    root = json.loads(file)
    # Nothing else may change.
    assert published(root) == file
    names = {Held(desk, name).keyid: name for name in HOLDERS}
    for each in root["signatures"]:
        rest = [other for other in root["signatures"] if other != each]
        yield names.get(each["keyid"], "somebody"), published(root | {"signatures": rest})


def verdicts(desk: Desk, clients: dict, scratch: Path):
    """Lets each client update from root 1 to what only root 2 leads to."""
    roots = [desk.read("1.root.json"), desk.read("2.root.json")]
    cases = {"the roots as they are": roots}
    for name, file in without_one_signature(desk, 1):
        cases[f"root 1 without {name}"] = [file, roots[1]]
    for name, file in without_one_signature(desk, 2):
        cases[f"root 2 without {name}"] = [roots[0], file]
    directory = scratch / "cases"
    questions, below = [], repository(desk)
    for number, (name, files) in enumerate(cases.items()):
        below.roots = [ready(file) for file in files]
        below.write(directory / str(number))
        expected = "refuse" if number else "accept"
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        case = {"name": str(number), "before": False, "target": TARGET, "sha256": sha256, "expected": expected}
        questions.append(case)
    given = ask(clients, questions, directory, scratch)
    for name, question in zip(cases, questions, strict=True):
        for client in clients:
            verdict, words = given[client, question["name"]]
            right = verdict == question["expected"]
            yield client, f"{name}: {verdict}, not {question['expected']} ({words})", right


def repository(desk: Desk) -> Repository:
    """What is below root 2, to be signed by openssl with the keys of tuffet-keys."""
    held = lambda *names: [Held(desk, name) for name in names]
    signers = {
        "root": (held("root-a", "root-b", "root-d"), 2),
        "snapshot": (held("online"), 1),
        "targets": (held("release-a", "release-b"), 2),
        "timestamp": (held("online-2"), 1),
    }
    repository = Repository(signers)
    repository.add(TARGET, CONTENT)
    return repository


def ready(file: bytes) -> Role:
    """A role whose file is there already."""
    role = Role(json.loads(file)["signed"], [])
    role.serve = lambda _: file
    return role


if __name__ == "__main__":
    sys.exit(main())
