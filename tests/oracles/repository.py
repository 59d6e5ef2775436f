"""Writes TUF repositories, wrong ones too: canonical JSON, keys, and roles that are linked and signed when written.

It shares no code with the clients that it is for: it is a few lines of json, hashlib and the package cryptography.
"""

import hashlib
import json
import math
import random
from functools import cache
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

# The clock of whoever runs a client is not ours to set, so what must not expire does so long after us.
FUTURE = "2099-12-31T00:00:00Z"
PAST = "2001-01-01T00:00:00Z"

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def published(value) -> bytes:
    """The bytes of a file: canonical JSON, but with control characters escaped, for JSON allows no raw ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def canonical(value) -> bytes:
    """The bytes under a signature: OLPC's canonical JSON, which escapes nothing but quotes and backslashes."""
    file = published(value)
    # Without an escape the two are the same, which is what makes 100,000 targets quick.
    return _canonical(value).encode() if b"\\" in file else file


def _canonical(value) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{_canonical(k)}:{_canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return json.dumps(value)


class Key:
    """A key whose secret is the digest of its name. Its object may be changed before a root takes it up."""

    def __init__(self, name: str, kind: str = "p256"):
        self.kind = kind
        secret = hashlib.sha256(f"tuffet oracle {kind} {name}".encode()).digest()
        if kind == "p256":
            self.secret = ec.derive_private_key(int.from_bytes(secret, "big") % P256_ORDER, ec.SECP256R1())
            keytype, scheme = "ecdsa", "ecdsa-sha2-nistp256"
        elif kind == "ed25519":
            self.secret = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
            keytype, scheme = "ed25519", "ed25519"
        else:
            self.secret = _rsa(secret)
            keytype, scheme = "rsa", "rsassa-pss-sha256"
        encoding, form = serialization.Encoding, serialization.PublicFormat
        if kind == "ed25519":
            public = self.secret.public_key().public_bytes(encoding.Raw, form.Raw).hex()
        else:
            public = self.secret.public_key().public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).decode()
        self.object = {"keytype": keytype, "keyval": {"public": public}, "scheme": scheme}
        self.label = None

    @property
    def keyid(self) -> str:
        """The keyid by the specification, or the label that a case gave it."""
        return self.label or hashlib.sha256(canonical(self.object)).hexdigest()

    def sign(self, message: bytes) -> str:
        if self.kind == "p256":
            return self.secret.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)).hex()
        if self.kind == "ed25519":
            return self.secret.sign(message).hex()
        sha256 = hashes.SHA256()
        pss = padding.PSS(mgf=padding.MGF1(sha256), salt_length=sha256.digest_size)
        return self.secret.sign(message, pss, sha256).hex()


@cache
def key(name: str, kind: str = "p256") -> Key:
    return Key(name, kind)


@cache
def _rsa(seed: bytes) -> rsa.RSAPrivateKey:
    """An RSA key from a seed: a library makes only random ones, and these repositories are the same every time."""
    numbers = random.Random(seed)
    e = 65537
    p, q = sorted((_prime(numbers, e), _prime(numbers, e)), reverse=True)
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


# The product of the odd primes below 2,000: one division rules out four of five candidates.
SMALL_PRIMES = math.prod(n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def _prime(numbers: random.Random, e: int) -> int:
    while True:
        # With the two highest bits set, the product of two has 2048 bits.
        n = numbers.getrandbits(1024) | 3 << 1022 | 1
        likely = math.gcd(n, SMALL_PRIMES) == math.gcd(n - 1, e) == 1
        if likely and all(pow(base, n - 1, n) == 1 for base in (2, 3, 5, 7)):
            return n


class Role:
    """A metadata file. What a case changes is a hook at the moment at which it matters."""

    def __init__(self, signed: dict, signers: list[Key]):
        self.signed = signed
        self.signers = signers
        # Changes `signed` once it names the files below, before it is signed.
        self.edit = lambda signed: None
        # Changes the envelope once it is signed; what is above names the result.
        self.envelope = lambda envelope: None
        self.encode = published
        # Changes the file behind the back of what is above; None takes it away.
        self.serve = lambda file: file

    def file(self) -> bytes:
        self.edit(self.signed)
        message = canonical(self.signed)
        signatures = [{"keyid": key.keyid, "sig": key.sign(message)} for key in self.signers]
        envelope = {"signatures": sorted(signatures, key=lambda each: each["keyid"]), "signed": self.signed}
        self.envelope(envelope)
        return self.encode(envelope)


def signed(kind: str, version: int = 1, **members) -> dict:
    return {"_type": kind, "expires": FUTURE, "spec_version": "1.0.34", "version": version, **members}


def root(version: int, roles: dict[str, tuple[list[Key], int]]) -> dict:
    return signed(
        "root",
        version,
        consistent_snapshot=True,
        keys={key.keyid: key.object for keys, _ in roles.values() for key in keys},
        roles={
            name: {"keyids": sorted(key.keyid for key in keys), "threshold": threshold}
            for name, (keys, threshold) in roles.items()
        },
    )


def holders(kind: str = "p256") -> dict[str, tuple[list[Key], int]]:
    """Who signs: two of three for what is kept offline, one for what is not."""
    return {
        "root": ([key(f"root-{each}", kind) for each in "abc"], 2),
        "snapshot": ([key("snapshot", kind)], 1),
        "targets": ([key(f"targets-{each}", kind) for each in "abc"], 2),
        "timestamp": ([key("timestamp", kind)], 1),
    }


class Repository:
    """The four top-level roles, and delegated ones as they are added."""

    def __init__(self, roles: dict | None = None, hashes: tuple[str, ...] = ("sha256",)):
        self.holders = roles or holders()
        self.hashes = hashes
        self.roots: list[Role] = []
        self.rotate(self.holders)
        self.timestamp = self._role("timestamp", meta={})
        self.snapshot = self._role("snapshot", meta={})
        self.targets = self._role("targets", targets={})
        self.delegated: dict[str, Role] = {}
        # Target files by their path in the repository.
        self.files: dict[str, bytes] = {}

    def _role(self, name: str, **members) -> Role:
        keys, threshold = self.holders[name]
        return Role(signed(name, **members), keys[:threshold])

    def rotate(self, roles: dict, signers: list[Key] | None = None) -> Role:
        """Adds a root, signed by enough of its own keys, or by these."""
        keys, threshold = roles["root"]
        self.roots.append(Role(root(len(self.roots) + 1, roles), signers or keys[:threshold]))
        return self.roots[-1]

    def role(self, name: str) -> Role:
        return self.delegated.get(name) or getattr(self, name)

    def delegate(self, parent: str, name: str, keys: list[Key], threshold: int = 1, **entry) -> Role:
        """Lets `parent` delegate to `name`; a second parent shares the first one's role."""
        delegations = self.role(parent).signed.setdefault("delegations", {"keys": {}, "roles": []})
        delegations["keys"] |= {key.keyid: key.object for key in keys}
        keyids = sorted(key.keyid for key in keys)
        entry = {"name": name, "keyids": keyids, "threshold": threshold, "terminating": False, **entry}
        delegations["roles"].append(entry)
        if name not in self.delegated:
            self.delegated[name] = Role(signed("targets", targets={}), keys[:threshold])
        return self.delegated[name]

    def add(self, path: str, content: bytes, role: str = "targets") -> None:
        """Lists a target in a role and puts its file where clients look for it."""
        digests = {name: hashlib.new(name, content).hexdigest() for name in self.hashes}
        self.role(role).signed["targets"][path] = {"hashes": digests, "length": len(content)}
        directory, slash, name = path.rpartition("/")
        for digest in digests.values():
            self.files[f"{directory}{slash}{digest}.{name}"] = content
            # Where tough looks for it. Without this copy it would fail at every target in a directory, and
            # nothing else could be learned from it; one case does without.
            self.files[f"{digest}.{path}"] = content

    def link(self, role: Role, file: bytes) -> dict:
        digests = {name: hashlib.new(name, file).hexdigest() for name in self.hashes}
        return {"hashes": digests, "length": len(file), "version": role.signed["version"]}

    def metadata(self) -> dict[str, bytes | None]:
        """All metadata files by name."""
        files = {f"{number}.root.json": each.serve(each.file()) for number, each in enumerate(self.roots, 1)}
        below = {name: (role, role.file()) for name, role in (self.delegated | {"targets": self.targets}).items()}
        self.snapshot.signed["meta"] |= {f"{name}.json": self.link(*each) for name, each in below.items()}
        below["snapshot"] = self.snapshot, self.snapshot.file()
        self.timestamp.signed["meta"] |= {"snapshot.json": self.link(*below["snapshot"])}
        files["timestamp.json"] = self.timestamp.serve(self.timestamp.file())
        meta = self.snapshot.signed.get("meta", {}) | self.timestamp.signed.get("meta", {})
        for name, (role, file) in below.items():
            # Under the version that is asked for; where nothing names it, under its own.
            version = meta.get(f"{name}.json", role.signed).get("version")
            # A role's name may hold what no file name can, so files are named as they are asked for.
            encoded = quote(name, safe="")
            file = role.serve(file)
            files[f"{version}.{encoded}.json"] = file
            if not self.roots[-1].signed.get("consistent_snapshot"):
                files[f"{encoded}.json"] = file
        return files

    def write(self, directory: Path) -> None:
        for name, file in self.metadata().items():
            if file is not None:
                _write(directory / "metadata" / name, file)
        for path, content in self.files.items():
            _write(directory / "targets" / path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
