"""The repositories that publish_bench.py starts from.

The programs make a small one of each, and what they would take hours for is added to its files, signed by the same
keys, in the very form: a target is a line like those that are there, a bin a copy of one that is there. tuffet reads
nothing that is not of its form, and neither does the benchmark go on if python-tuf finds no target that was added.
"""

import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.signer import SSlibKey

from repository import canonical, published

KEYS = ["root-a", "root-b", "release-a", "release-b", "lamp-a", "lamp-b", "online"]
HOLDERS = {"targets": ["release-a", "release-b"], "lamp": ["lamp-a", "lamp-b"]}
IMAGE = 4096
ONLINE = ["--snapshot-key", "online.pem", "--timestamp-key", "online.pem", "--danger-unencrypted"]


class Office:
    """A release team and its holders in one place, whose keys are not encrypted: scrypt is not what is measured."""

    def __init__(self, directory: Path, tuffet: Path, keys: Path, state: Path | None = None):
        self.directory, self.tuffet_program, self.keys_program = directory, tuffet, keys
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUFFET_")}
        self.environment = inherited | {"TUFFET_STATE": str(state or directory / "state")}

    def found(self) -> None:
        """Makes the keys and root 1."""
        self.directory.mkdir(parents=True)
        for name in KEYS:
            self.tuffet_keys("generate", "--danger-unencrypted", "--out", f"{name}.pem")
        public = lambda *names: [f"{name}.pub.pem" for name in names]
        offline = ["--root-key", *public("root-a", "root-b"), "--targets-key", *public("release-a", "release-b")]
        online = ["--snapshot-key", *public("online"), "--timestamp-key", *public("online")]
        self.tuffet_keys("root", "draft", *offline, *online, "--out", "root.request")
        warnings, repository = self.review("root.request")
        agree = ["--yes", "--digest", repository, "--despite", warnings, "--danger-unencrypted"]
        self.tuffet_keys("sign", "root.request", *agree, "--key", "root-a.pem", "root-b.pem")
        self.tuffet_keys("finish", "root.request", "--out", "1.root.json")

    def run(self, *command) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=self.directory, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def tuffet(self, repo: Path, *arguments) -> str:
        return self.run(self.tuffet_program, "--repo", repo, *arguments)

    def tuffet_keys(self, *arguments) -> str:
        return self.run(self.keys_program, *arguments)

    def review(self, request) -> tuple[int, str]:
        """How many warnings there are, and whose repository it is."""
        review = json.loads(self.tuffet_keys("review", request, "--output", "json"))
        return len(review["warnings"]), review["repository"]["sha256"]

    def sign(self, repo: Path) -> None:
        for command in self.signing(repo):
            self.run(*command)

    def signing(self, repo: Path):
        """The command by which the holders sign, for each staged request that nobody has signed."""
        for path in sorted((repo / "staged").glob("*.request.json")):
            request = json.loads(path.read_text())
            if not request["signatures"]:
                agree = ["--yes", "--despite", self.review(path)[0], "--danger-unencrypted"]
                holders = [f"{name}.pem" for name in HOLDERS[request["role"].split(".bin-")[0]]]
                yield [self.keys_program, "sign", path, *agree, "--key", *holders]

    def init(self, repo: Path, *more) -> None:
        device = ["--hardware", "rev-a", "--slot-size", "65536", "--channel", "stable"]
        self.tuffet(repo, "init", "--root", "1.root.json", "--product", "lamp", *device, *more)

    def release(self, repo: Path, version: str) -> None:
        image = self.directory / "lamp.bin"
        image.write_bytes(content(version))
        place = ["--hardware", "rev-a", "--channel", "stable", "--version", version]
        self.tuffet(repo, "release", "add", image, *place)

    def publish(self, repo: Path) -> None:
        self.sign(repo)
        self.tuffet(repo, "publish", *ONLINE)

    def learn(self, *files: Path) -> None:
        """What holders know who have seen all of this."""
        self.tuffet_keys("learn", *files)

    def remember(self, files: dict[str, bytes]) -> None:
        """And who signed it: targets files of version 1 by the roles from targets down, as `lamp.d/lamp.bin-0a`."""
        (repository,) = (self.directory / "state").iterdir()
        for role, file in files.items():
            path = repository / "signed" / f"{role}.1"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(canonical(json.loads(file)["signed"]))

    @cache
    def secret(self, name: str):
        """The keyid and the key itself."""
        public = load_pem_public_key((self.directory / f"{name}.pub.pem").read_bytes())
        secret = load_pem_private_key((self.directory / f"{name}.pem").read_bytes(), None)
        return SSlibKey.from_crypto(public).keyid, secret

    def signed(self, signed: dict, holders: list[str]) -> bytes:
        message = canonical(signed)
        signatures = []
        for keyid, secret in sorted((self.secret(name) for name in holders), key=lambda each: each[0]):
            signatures.append({"keyid": keyid, "sig": secret.sign(message, ec.ECDSA(hashes.SHA256())).hex()})
        return published({"signatures": signatures, "signed": signed})

    def link(self, public: Path, files: dict[str, bytes]) -> None:
        """Writes targets files of version 1, and what leads to them."""
        for role, file in files.items():
            (public / f"1.{role}.json").write_bytes(file)
        timestamp = json.loads((public / "timestamp.json").read_text())["signed"]
        entry = timestamp["meta"]["snapshot.json"]
        path = public / f"{entry['version']}.snapshot.json"
        snapshot = json.loads(path.read_text())["signed"]
        for role, file in files.items():
            snapshot["meta"][f"{role}.json"] = described(file) | {"version": 1}
        path.write_bytes(self.signed(snapshot, ["online"]))
        entry |= described(path.read_bytes())
        (public / "timestamp.json").write_bytes(self.signed(timestamp, ["online"]))
        # As in a fresh checkout: what the workspace remembers is not this.
        shutil.rmtree(public.parent / "last", ignore_errors=True)


def described(content: bytes) -> dict:
    return {"hashes": {"sha256": hashlib.sha256(content).hexdigest()}, "length": len(content)}


def content(version: str) -> bytes:
    """An image's bytes: different for each version."""
    return hashlib.shake_256(version.encode()).digest(IMAGE)


def version_of(number: int) -> str:
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def path_of(number: int) -> str:
    return f"lamp/rev-a/versions/0.{version_of(number)}/lamp.bin"


def target_of(number: int) -> dict:
    """A target of which only the digest is known: what publishes more reads no older image."""
    return {"hashes": {"sha256": hashlib.sha256(str(number).encode()).hexdigest()}, "length": IMAGE}


def first(office: Office, repo: Path, count: int) -> Path:
    """A repository without releases, and a list of so many images."""
    office.found()
    office.init(repo)
    images = office.directory / f"images-{count}"
    lines = images / "list"
    images.mkdir()
    with lines.open("w") as out:
        for number in range(count):
            version = version_of(number)
            image = images / version / "lamp.bin"
            image.parent.mkdir()
            image.write_bytes(content(version))
            line = {"channel": "stable", "hardware": "rev-a", "image": str(image), "version": version}
            out.write(json.dumps(line) + "\n")
    return lines


def flat(office: Office, repo: Path, count: int) -> list[str]:
    """So many images in the top-level targets. Gives some of their paths."""
    office.found()
    office.init(repo)
    office.release(repo, "1.0.0")
    office.publish(repo)
    public = repo / "public"
    signed = json.loads((public / "1.targets.json").read_text())["signed"]
    for number in range(count - len(signed["targets"])):
        signed["targets"][path_of(number)] = target_of(number)
    files = {"targets": office.signed(signed, HOLDERS["targets"])}
    office.link(public, files)
    office.learn(public / "1.targets.json")
    office.remember(files)
    return [path_of(number) for number in (0, count // 2)]


def bins(office: Office, repo: Path, count: int, bits: int) -> list[str]:
    """So many images in 2^bits bins. Gives some of their paths."""
    office.found()
    keys = ["--product-key", "lamp-a.pub.pem", "--product-key", "lamp-b.pub.pem"]
    office.init(repo, *keys, "--bins", bits)
    office.sign(repo)
    office.tuffet(repo, "renew", "lamp")
    office.publish(repo)
    office.release(repo, "1.0.0")
    office.publish(repo)
    public = repo / "public"
    snapshot = max(public.glob("*.snapshot.json"), key=lambda path: int(path.name.split(".")[0]))
    written = [name for name in json.loads(snapshot.read_text())["signed"]["meta"] if ".bin-" in name]
    signed = {name[:-5]: json.loads((public / f"1.{name}").read_text())["signed"] for name in written}
    width = len(f"{(1 << bits) - 1:x}")
    like = next(iter(signed.values()))
    for number in range(1 << bits):
        signed.setdefault(f"lamp.bin-{number:0{width}x}", like | {"targets": {}})
    for number in range(count - 2):
        path = path_of(number)
        bin_number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - bits)
        signed[f"lamp.bin-{bin_number:0{width}x}"]["targets"][path] = target_of(number)
    files = {name: office.signed(each, HOLDERS["lamp"]) for name, each in signed.items()}
    office.link(public, files)
    office.learn(public)
    office.remember({f"lamp.d/{name}": file for name, file in files.items()})
    return [path_of(number) for number in (0, count // 2)]
