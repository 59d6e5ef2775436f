"""One thing that is changed, most often for the worse, in a copy of a repository that tuffet published.

Most of it is what somebody could do who holds the online keys, snapshot's and timestamp's, and no other: all links are
as they should be, so that nothing but the check in question can refuse.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ceremony import Held
from repository import canonical, published
from shapes import BITS, Team

# In each shape; its role is the top-level one, the product's or a bin.
ENTRY = "lamp/rev-a/stable/release"
IMAGE = "lamp/rev-a/versions/1.1.0/lamp.bin"
FOREIGN = b"an image that nobody may sign for here\n"


@dataclass
class Damage:
    name: str
    # Does it to the copy, and gives what clients are then asked for: the path, and the bytes that they must not take.
    do: Callable[["Published"], tuple[str, bytes]]
    # Whether it is the shape's; else it is every shape's.
    of: Callable[[str], bool] = lambda shape: True
    # Whether the client has seen the repository before, without which it could not see that something is wrong.
    seen_before: bool = False
    # Whether nothing is wrong.
    harmless: bool = False


class Signer(Held):
    """A key that tuffet-keys made, opened once."""

    def __init__(self, team: Team, name: str):
        super().__init__(team.desk, name)
        passphrase = team.desk.environment["TUFFET_PASSPHRASE"].encode()
        self.secret = load_pem_private_key(team.desk.read(f"{name}.pem"), passphrase)

    def sign(self, message: bytes) -> str:
        return self.secret.sign(message, ec.ECDSA(hashes.SHA256())).hex()


@cache
def signer(team: Team, name: str) -> Signer:
    return Signer(team, name)


class Published:
    """The metadata that a directory's timestamp leads to, and what can be done to them."""

    def __init__(self, public: Path, team: Team):
        self.public, self.team = public, team
        self.timestamp = self.read("timestamp.json")
        self.snapshot = self.read(f"{self.named_snapshot['version']}.snapshot.json")

    def read(self, name: str) -> dict:
        return json.loads((self.public / name).read_text())

    @property
    def named_snapshot(self) -> dict:
        return self.timestamp["signed"]["meta"]["snapshot.json"]

    def named(self, role: str) -> dict:
        return self.snapshot["signed"]["meta"][f"{role}.json"]

    def name(self, role: str, version: int | None = None) -> str:
        return f"{version or self.named(role)['version']}.{quote(role, safe='')}.json"

    def roles(self):
        """Each targets file: the role's name and the file."""
        for name in self.snapshot["signed"]["meta"]:
            role = name.removesuffix(".json")
            yield role, self.read(self.name(role))

    def role_of(self, path: str) -> str:
        return next(role for role, file in self.roles() if path in file["signed"]["targets"])

    def sign(self, file: dict, holders: list[str]) -> None:
        message = canonical(file["signed"])
        signers = [signer(self.team, name) for name in holders]
        signatures = [{"keyid": each.keyid, "sig": each.sign(message)} for each in signers]
        file["signatures"] = sorted(signatures, key=lambda each: each["keyid"])

    def put(self, role: str, file: dict, step: int = 0) -> None:
        """Puts a role's file where the snapshot names one, and signs what leads to it."""
        content = published(file)
        (self.public / self.name(role)).write_bytes(content)
        self.named(role).update(link(content))
        self.link(step)

    def link(self, step: int = 0) -> None:
        """Signs what leads to the targets files, under versions that many higher."""
        self.snapshot["signed"]["version"] += step
        self.timestamp["signed"]["version"] += step
        self.sign(self.snapshot, ["online"])
        content = published(self.snapshot)
        self.named_snapshot.update(link(content) | {"version": self.snapshot["signed"]["version"]})
        (self.public / f"{self.named_snapshot['version']}.snapshot.json").write_bytes(content)
        self.sign(self.timestamp, [self.team.timestamp])
        (self.public / "timestamp.json").write_bytes(published(self.timestamp))


def link(content: bytes) -> dict:
    return {"hashes": {"sha256": hashlib.sha256(content).hexdigest()}, "length": len(content)}


def content_of(repository: Published, path: str) -> bytes:
    role = repository.read(repository.name(repository.role_of(path)))
    return canonical(role["signed"]["targets"][path]["custom"])


def go_on(repository: Published) -> tuple[str, bytes]:
    """The next version of a role, signed by all who must, as every damage would be if it were none."""
    content = content_of(repository, ENTRY)
    role = repository.role_of(ENTRY)
    file = repository.read(repository.name(role))
    file["signed"]["version"] += 1
    repository.sign(file, repository.team.holders[role.split(".bin-")[0]])
    repository.named(role)["version"] += 1
    repository.put(role, file, step=1)
    return ENTRY, content


def flip_image(repository: Published) -> tuple[str, bytes]:
    """A bit of an image is another one."""
    directory, name = IMAGE.rsplit("/", 1)
    [file] = (repository.public / "targets" / directory).glob(f"*.{name}")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    return IMAGE, bytes(content)


def take_signature(repository: Published) -> tuple[str, bytes]:
    """A role has one signature too few."""
    content = content_of(repository, ENTRY)
    role = repository.role_of(ENTRY)
    file = repository.read(repository.name(role))
    del file["signatures"][1:]
    repository.put(role, file)
    return ENTRY, content


def swap_for_older(repository: Published) -> tuple[str, bytes]:
    """A mirror, which has no keys, gives the file before this one, a bin's where there are bins."""
    role = repository.role_of(ENTRY)
    older = repository.public / repository.name(role, repository.named(role)["version"] - 1)
    (repository.public / repository.name(role)).write_bytes(older.read_bytes())
    return ENTRY, content_of(repository, ENTRY)


def roll_back(repository: Published) -> tuple[str, bytes]:
    """The file before this one again, under a new snapshot."""
    role = repository.role_of(ENTRY)
    version = repository.named(role)["version"] - 1
    content = (repository.public / repository.name(role, version)).read_bytes()
    repository.named(role).update(link(content) | {"version": version})
    repository.link(step=1)
    return ENTRY, content_of(repository, ENTRY)


def reach_further(repository: Published) -> tuple[str, bytes]:
    """The product's holders sign for a path that nobody delegated to this role: too deep, or another bin's."""
    role = repository.role_of(ENTRY)
    path = "lamp/rev-a/not/stable/release"
    while f"lamp.bin-{bin_of(path):02x}" == role:
        path += "+"
    file = repository.read(repository.name(role))
    file["signed"]["targets"][path] = link(FOREIGN)
    repository.sign(file, repository.team.holders[role.split(".bin-")[0]])
    repository.put(role, file)
    directory, name = path.rsplit("/", 1)
    place = repository.public / "targets" / directory / f"{hashlib.sha256(FOREIGN).hexdigest()}.{name}"
    place.parent.mkdir(parents=True)
    place.write_bytes(FOREIGN)
    return path, FOREIGN


def bin_of(path: str) -> int:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - BITS)


def sign_as_before(repository: Published) -> tuple[str, bytes]:
    """Somebody who has left signs with one who has not."""
    content = content_of(repository, ENTRY)
    role = repository.role_of(ENTRY)
    file = repository.read(repository.name(role))
    repository.sign(file, ["release-a", "release-b"] if role == "targets" else ["lamp-a", "lamp-b"])
    repository.put(role, file)
    return ENTRY, content


DELEGATED = {"own-role", "three-products", "bins", "key-rotation", "key-rotation-in-bins"}

DAMAGES = [
    Damage("next-version", go_on, seen_before=True, harmless=True),
    Damage("image-flipped", flip_image),
    Damage("signature-removed", take_signature),
    Damage("older-file", swap_for_older),
    Damage("rolled-back", roll_back, seen_before=True),
    Damage("beyond-delegation", reach_further, of=DELEGATED.__contains__),
    Damage("signed-by-who-left", sign_as_before, of=lambda shape: "rotation" in shape),
]
