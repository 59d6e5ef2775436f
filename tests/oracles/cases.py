"""Repositories for the differential test: each is one that clients accept, with one thing changed.

What to expect is what the specification says, 1.0.34 with TAP 12 (keyids are labels) and TAP 15 (succinct hash bins).
Where a client may well refuse what the specification lets it accept, the case says so in `by_design`: then Tuffet's
own client may do either.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from repository import P256_ORDER, PAST, Key, Repository, Role, holders, key, published, signed

TARGET = "lamp/rev-a/lamp.bin"
CONTENT = b"firmware of a lamp\n" * 100
OTHER = b"firmware of another lamp\n" * 100


@dataclass
class Case:
    name: str
    base: str
    expected: str
    reason: str
    by_design: str | None
    # Changes a repository, and may return the one that a client is to have seen before.
    change: Callable[[], tuple[Repository, Repository | None]]

    def make(self) -> tuple[Repository, Repository | None]:
        return self.change()


CASES: list[Case] = []


def case(expected: str, reason: str, base: Callable | None = None, by_design: str | None = None, name: str = ""):
    base = base or four_roles

    def add(change):
        def make():
            repository = base()
            return repository, change(repository)

        title = name or change.__name__.replace("_", "-")
        origin = getattr(base, "func", base).__name__.replace("_", "-")
        CASES.append(Case(title, origin, expected, reason, by_design, make))
        return change

    return add


accept, refuse = partial(case, "accept"), partial(case, "refuse")


# --- where the cases start ------------------------------------------------------------------------------------


def four_roles(roles: Callable[[], dict] = holders, hashes: tuple[str, ...] = ("sha256",)) -> Repository:
    repository = Repository(roles(), hashes)
    wants(repository)
    repository.add(TARGET, CONTENT)
    return repository


def wants(repository: Repository, path: str = TARGET, content: bytes = CONTENT) -> None:
    """What a client is to download, and what must come out if it accepts."""
    repository.wanted, repository.content = path, content


def delegated(paths=("lamp/*/*",), path: str = TARGET, name: str = "lamp", **entry) -> Repository:
    """The target is in a role with two of three keys of its own."""
    repository = Repository()
    wants(repository, path)
    where = {"paths": list(paths)} if paths is not None else {}
    repository.delegate("targets", name, lamp_keys(), 2, **where, **entry)
    repository.add(path, CONTENT, name)
    return repository


def lamp_keys() -> list[Key]:
    return [key(f"lamp-{each}") for each in "abc"]


def two_roles(**first) -> Repository:
    """Two roles may provide the target: `first` does not list it, `second` does."""
    repository = Repository()
    wants(repository)
    repository.delegate("targets", "first", [key("first")], **({"paths": ["lamp/*/*"]} | first))
    repository.delegate("targets", "second", [key("second")], paths=["lamp/*/*"])
    repository.add(TARGET, CONTENT, "second")
    return repository


def hash_bins() -> Repository:
    """Four bins by `path_hash_prefixes`, one of which holds the target."""
    repository = Repository()
    wants(repository)
    for number, digits in enumerate(["0123", "4567", "89ab", "cdef"]):
        repository.delegate("targets", f"bin-{number}", [key("bins")], path_hash_prefixes=list(digits))
    repository.add(TARGET, CONTENT, bin_of(TARGET, 2))
    return repository


def succinct_bins() -> Repository:
    """Four bins as one entry."""
    repository = Repository()
    wants(repository)
    entry = {"bit_length": 2, "keyids": [key("bins").keyid], "name_prefix": "bin", "threshold": 1}
    keys = {key("bins").keyid: key("bins").object}
    repository.targets.signed["delegations"] = {"keys": keys, "succinct_roles": entry}
    for number in range(4):
        repository.delegated[f"bin-{number}"] = Role(signed("targets", targets={}), [key("bins")])
    repository.add(TARGET, CONTENT, bin_of(TARGET, 2))
    return repository


def bin_of(path: str, bits: int) -> str:
    """The bin of a path: the first bits of its digest, in as many digits as the last bin's number needs."""
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> 32 - bits
    return f"bin-{number:0{len(f'{(1 << bits) - 1:x}')}x}"


def unchanged(repository: Repository) -> None:
    pass


accept("Nothing is wrong with it.", name="four-roles")(unchanged)
accept("Nothing is wrong with it.", delegated, name="delegated")(unchanged)
accept("A role that does not list the target lets the search go on.", two_roles, name="two-roles")(unchanged)
accept("The path's digest begins with one of the role's prefixes.", hash_bins, name="hash-bins")(unchanged)
accept("TAP 15: the path's digest names the bin.", succinct_bins, name="succinct-bins")(unchanged)


# --- how files are written ------------------------------------------------------------------------------------


def every(repository: Repository) -> list[Role]:
    return [
        *repository.roots,
        *repository.delegated.values(),
        repository.targets,
        repository.snapshot,
        repository.timestamp,
    ]


@accept("Signatures are over the canonical form, so white space does not matter.")
def pretty_printed(repository):
    for role in every(repository):
        role.encode = lambda envelope: json.dumps(envelope, sort_keys=True, indent=2).encode()


@accept(
    "Signatures are over the canonical form, so the order of members does not matter.",
    by_design="A verifier with constant memory cannot sort; unsorted files are canonicalised first, on hosts.",
)
def unsorted_objects(repository):
    def backwards(value):
        if isinstance(value, dict):
            return {name: backwards(value[name]) for name in sorted(value, reverse=True)}
        return [backwards(each) for each in value] if isinstance(value, list) else value

    for role in every(repository):
        role.encode = lambda envelope: json.dumps(backwards(envelope)).encode()


@accept("An escaped letter is the same letter.")
def escaped_strings(repository):
    for role in every(repository):
        role.encode = lambda envelope: published(envelope).replace(b'"_type"', b'"\\u005ftype"')


@accept("JSON may end in white space.")
def line_feed_at_the_end(repository):
    repository.timestamp.serve = lambda file: file + b"\n"


@refuse("JSON ends where its value ends.")
def garbage_at_the_end(repository):
    repository.timestamp.serve = lambda file: file + b"}"


@refuse("A file that ends early is no JSON.")
def file_cut_short(repository):
    repository.timestamp.serve = lambda file: file[:-10]


@refuse("An empty file is no JSON.")
def empty_file(repository):
    repository.timestamp.serve = lambda file: b""


@refuse("Which of two members of one name a reader takes is luck.")
def member_twice(repository):
    again = b'"version":9,"version":1}}'
    repository.targets.encode = lambda envelope: published(envelope).replace(b'"version":1}}', again)


@refuse("Canonical JSON has no fractions, so nothing can be signed over one.")
def fraction(repository):
    repository.targets.signed["x"] = 1.5


@refuse("Canonical JSON has no exponents, so no signature is over this number.")
def exponent(repository):
    repository.timestamp.encode = lambda envelope: published(envelope).replace(b'"version":1}}', b'"version":1e0}}')


@accept("Canonical JSON has negative integers.")
def negative_number(repository):
    repository.targets.signed["x"] = -5


@accept("Canonical JSON sets integers no bounds.", by_design="Integers end at 64 bits; docs/format.md says so.")
def integer_of_seventy_bits(repository):
    repository.targets.signed["x"] = 1 << 70


@accept("Canonical JSON leaves a string as it is; this one is composed.")
def composed_letter(repository):
    sign_as_utf8(repository, "\u00e9")


@accept("Canonical JSON leaves a string as it is; it does not compose this one.")
def decomposed_letter(repository):
    sign_as_utf8(repository, "e\u0301")


def sign_as_utf8(repository: Repository, text: str) -> None:
    """Signed bytes hold the letter itself, as canonical JSON wants; `canonical` writes ASCII alone."""
    repository.targets.signed["x"] = text
    repository.targets.signers = [Utf8(each, text) for each in repository.targets.signers]


class Utf8:
    def __init__(self, signer: Key, text: str):
        self.signer, self.text, self.keyid = signer, text, signer.keyid

    def sign(self, message: bytes) -> str:
        return self.signer.sign(message.replace(json.dumps(self.text).encode(), f'"{self.text}"'.encode()))


# --- members --------------------------------------------------------------------------------------------------


@accept("A reader ignores members of `signed` that it does not know.")
def unknown_member(repository):
    for role in every(repository):
        role.signed["x-note"] = {"seen": [True, None, "by nobody"]}


@accept("A reader ignores members that it does not know, at any depth, and keeps them under the signature.")
def unknown_member_deep_down(repository):
    repository.roots[0].signed["roles"]["targets"]["x-owner"] = "ada"
    repository.targets.signed["targets"][TARGET]["x-note"] = "new"
    repository.snapshot.edit = lambda signed: signed["meta"]["targets.json"].update({"x-note": "new"})
    repository.timestamp.edit = lambda signed: signed["meta"]["snapshot.json"].update({"x-note": "new"})


@accept("A reader ignores members of the envelope that it does not know.")
def unknown_member_of_the_envelope(repository):
    for role in every(repository):
        role.envelope = lambda envelope: envelope.update({"x-note": "new"})


@refuse("A signature covers members that the reader does not know.")
def unknown_member_changed(repository):
    repository.targets.signed["x-note"] = "old"
    repository.targets.envelope = lambda envelope: envelope["signed"].update({"x-note": "new"})


@accept("`custom` is anybody's.")
def custom(repository):
    repository.targets.signed["targets"][TARGET]["custom"] = {"a": 1, "b": [{"c": None}]}


@refuse("The file says that it is a snapshot.")
def wrong_type(repository):
    repository.targets.signed["_type"] = "snapshot"


@refuse("`_type` says what a file is.")
def no_type(repository):
    del repository.targets.signed["_type"]


@refuse("Another major version may mean anything.")
def spec_version_2(repository):
    repository.targets.signed["spec_version"] = "2.0.0"


@accept("A later minor version is compatible.")
def spec_version_1_99(repository):
    repository.targets.signed["spec_version"] = "1.99.0"


@refuse("A reader must check `spec_version`.")
def no_spec_version(repository):
    del repository.targets.signed["spec_version"]


@refuse("A version is greater than 0.")
def version_zero(repository):
    repository.targets.signed["version"] = 0


@refuse("A version is greater than 0.")
def version_negative(repository):
    repository.targets.signed["version"] = -1


@refuse("A version is a number.")
def version_in_quotes(repository):
    repository.timestamp.signed["version"] = "1"


@refuse("A file without an end is good for ever.")
def no_expires(repository):
    del repository.targets.signed["expires"]


@refuse("No date can be made of it.")
def expires_is_no_date(repository):
    repository.targets.signed["expires"] = "tomorrow"


@refuse("A date is UTC and says so by a Z.")
def expires_with_an_offset(repository):
    repository.targets.signed["expires"] = "2099-12-31T00:00:00+00:00"


# --- expiry ---------------------------------------------------------------------------------------------------


@refuse("5.3.10: the newest root has expired.")
def root_expired(repository):
    repository.roots[0].signed["expires"] = PAST


@accept("5.3.6: only the newest root must not have expired.")
def older_root_expired(repository):
    repository.roots[0].signed["expires"] = PAST
    repository.rotate(holders())


@refuse("5.4.4: the timestamp has expired.")
def timestamp_expired(repository):
    repository.timestamp.signed["expires"] = PAST


@refuse("5.5.6: the snapshot has expired.")
def snapshot_expired(repository):
    repository.snapshot.signed["expires"] = PAST


@refuse("5.6.5: the targets file has expired.")
def targets_expired(repository):
    repository.targets.signed["expires"] = PAST


@refuse("5.6.5 is for delegated roles, too.", delegated)
def delegated_role_expired(repository):
    repository.role("lamp").signed["expires"] = PAST


# --- keys and signatures --------------------------------------------------------------------------------------

accept(
    "The specification's second kind of key.", partial(four_roles, partial(holders, "ed25519")), name="ed25519-keys"
)(unchanged)
accept("The specification's first kind of key.", partial(four_roles, partial(holders, "rsa")), name="rsa-pss-keys")(
    unchanged
)


def mixed() -> dict:
    kinds = ["ed25519", "rsa", "p256"]
    return {
        "root": ([key(f"root-{kind}", kind) for kind in kinds], 3),
        "snapshot": ([key("snapshot", "ed25519")], 1),
        "targets": ([key(f"targets-{kind}", kind) for kind in kinds], 2),
        "timestamp": ([key("timestamp", "rsa")], 1),
    }


accept("A role may have keys of several kinds.", partial(four_roles, mixed), name="mixed-keys")(unchanged)


def labelled() -> dict:
    roles = holders()
    odd = Key("targets-a")
    odd.label = hashlib.sha256(b"a label").hexdigest()
    return roles | {"targets": ([odd, key("targets-b")], 2)}


accept("TAP 12: a keyid is a label.", partial(four_roles, labelled), name="keyid-is-a-label")(unchanged)


def two_labels() -> dict:
    first, second = Key("targets-a"), Key("targets-a")
    second.label = hashlib.sha256(b"a second label").hexdigest()
    return holders() | {"targets": ([first, second], 2)}


refuse(
    "A threshold counts keys, and this is one under two keyids.",
    partial(four_roles, two_labels),
    name="key-under-two-labels",
)(unchanged)


def two_texts() -> dict:
    first, second = Key("targets-a"), Key("targets-a")
    second.object["keyval"]["public"] = second.object["keyval"]["public"].strip()
    return holders() | {"targets": ([first, second], 2)}


refuse(
    "A threshold counts keys, and this is one in two spellings.",
    partial(four_roles, two_texts),
    name="key-in-two-spellings",
)(unchanged)


@accept("A key that nobody can use harms nobody while enough others are left.")
def key_of_an_unknown_kind(repository):
    odd = Key("odd")
    odd.object = {"keytype": "rainbow", "keyval": {"public": "violet"}, "scheme": "rainbow-1"}
    roles = holders()
    roles["targets"] = ([*roles["targets"][0], odd], 2)
    repository.roots.clear()
    repository.rotate(roles)


@refuse("5.6.3: one of two.")
def targets_threshold_not_met(repository):
    repository.targets.signers = repository.targets.signers[:1]


@refuse("5.5.3: no signature at all.")
def snapshot_unsigned(repository):
    repository.snapshot.signers = []


@refuse("5.4.2: no signature at all.")
def timestamp_unsigned(repository):
    repository.timestamp.signers = []


@refuse("5.4.2: another role's key.")
def timestamp_signed_by_another_role(repository):
    repository.timestamp.signers = [key("snapshot")]


@refuse("5.6.3: a stranger's key under the right keyid.")
def targets_signed_by_a_stranger(repository):
    stranger = Key("stranger")
    stranger.label = key("targets-a").keyid
    repository.targets.signers = [stranger, key("targets-b")]


@refuse("5.6.3: something was changed after it was signed.")
def changed_after_signing(repository):
    repository.targets.envelope = lambda envelope: envelope["signed"].update({"expires": "2098-01-01T00:00:00Z"})


@accept("A bad signature beside enough good ones does no harm.")
def bad_signature_beside_good_ones(repository):
    stranger = Key("stranger")
    stranger.label = key("targets-c").keyid
    repository.targets.signers.append(stranger)


@accept("A signature by nobody's key does no harm.")
def signature_of_an_unknown_key(repository):
    repository.targets.signers.append(key("stranger"))


@accept("A key that is still to sign may have an empty signature.")
def empty_signature_beside_good_ones(repository):
    extra_signature(repository, "")


@accept("A signature that cannot even be read does no harm beside enough good ones.")
def unreadable_signature_beside_good_ones(repository):
    extra_signature(repository, "zz")


def extra_signature(repository: Repository, text: str) -> None:
    signature = {"keyid": key("targets-c").keyid, "sig": text}
    repository.targets.envelope = lambda envelope: envelope["signatures"].append(signature)


@refuse("4.2: a keyid is unique among signatures, whether the threshold is met or not.")
def keyid_signs_twice(repository):
    repository.targets.envelope = lambda envelope: envelope["signatures"].append(envelope["signatures"][0])


@refuse("4.2: a keyid is unique among signatures, and a threshold counts keys.")
def keyid_signs_twice_for_the_threshold(repository):
    repository.targets.signers = [key("targets-a")] * 2


@refuse("A threshold of 0 asks for nothing.")
def threshold_zero(repository):
    repository.roots[0].signed["roles"]["timestamp"]["threshold"] = 0
    repository.timestamp.signers = []


@refuse("A threshold below 0 asks for less than nothing.")
def threshold_negative(repository):
    repository.roots[0].signed["roles"]["timestamp"]["threshold"] = -1


@refuse("A threshold that no set of keys can meet.")
def threshold_above_the_keys(repository):
    repository.roots[0].signed["roles"]["timestamp"]["threshold"] = 2


@refuse("Root speaks for four roles.")
def role_missing_from_root(repository):
    del repository.roots[0].signed["roles"]["snapshot"]


@accept("Of r, s and r, -s both are signatures; hardware makes either.")
def high_s(repository):
    reencode(repository, lambda r, s: encode_dss_signature(r, max(s, P256_ORDER - s)))


@refuse("A signature is DER, not r and s side by side.")
def signature_not_der(repository):
    reencode(repository, lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def reencode(repository: Repository, encode: Callable[[int, int], bytes]) -> None:
    def change(envelope):
        for signature in envelope["signatures"]:
            signature["sig"] = encode(*decode_dss_signature(bytes.fromhex(signature["sig"]))).hex()

    repository.timestamp.envelope = change


# --- lengths, hashes and versions -----------------------------------------------------------------------------


@accept("4.4: lengths and hashes of metadata are optional.")
def no_lengths_and_hashes(repository):
    def change(signed):
        for entry in signed["meta"].values():
            del entry["hashes"], entry["length"]

    repository.snapshot.edit = repository.timestamp.edit = change


accept(
    "The specification leaves the hash function open.",
    partial(four_roles, hashes=("sha512",)),
    "A digest that cannot be compared is refused, and devices have SHA-256; docs/format.md says so.",
    "sha512-alone",
)(unchanged)
accept("There may be several hashes.", partial(four_roles, hashes=("sha256", "sha512")), name="both-hashes")(unchanged)


@refuse("5.6.2: all hashes must match, not one of them.", partial(four_roles, hashes=("sha256", "sha512")))
def one_of_two_hashes_wrong(repository):
    repository.snapshot.edit = lambda signed: signed["meta"]["targets.json"]["hashes"].update({"sha512": "00" * 64})


@refuse("5.5.2: the timestamp names another snapshot.")
def snapshot_hash_wrong(repository):
    repository.timestamp.edit = lambda signed: signed["meta"]["snapshot.json"].update({"hashes": {"sha256": "0" * 64}})


@refuse("5.6.2: the snapshot names another targets file.")
def targets_hash_wrong(repository):
    repository.snapshot.edit = lambda signed: signed["meta"]["targets.json"].update({"hashes": {"sha256": "0" * 64}})


@refuse("5.6.1: nothing is read beyond the stated length.")
def targets_longer_than_stated(repository):
    repository.snapshot.edit = lambda signed: signed["meta"]["targets.json"].update({"length": 100})


@refuse("5.5.4: the timestamp names version 1.")
def snapshot_version_wrong(repository):
    repository.snapshot.signed["version"] = 2
    repository.timestamp.edit = lambda signed: signed["meta"]["snapshot.json"].update({"version": 1})


@refuse("5.6.4: the snapshot names version 1.")
def targets_version_wrong(repository):
    repository.targets.signed["version"] = 2
    repository.snapshot.edit = lambda signed: signed["meta"]["targets.json"].update({"version": 1})


@refuse("A snapshot names targets.")
def snapshot_without_targets(repository):
    repository.snapshot.edit = lambda signed: signed["meta"].pop("targets.json")


@refuse("A timestamp names a snapshot.")
def timestamp_without_snapshot(repository):
    repository.timestamp.edit = lambda signed: signed["meta"].clear()


@refuse("It is not there.")
def targets_file_missing(repository):
    repository.targets.serve = lambda file: None


@refuse("5.7.3: the target's hash does not match.")
def target_changed(repository):
    repository.files = {path: content[::-1] for path, content in repository.files.items()}


@refuse("5.7.3: the target does not end where it should.")
def target_too_long(repository):
    repository.files = {path: content + b"!" for path, content in repository.files.items()}


@refuse("5.7.3: the target ends too early.")
def target_too_short(repository):
    repository.files = {path: content[:-1] for path, content in repository.files.items()}


@refuse("5.7.2: no role lists it.")
def target_unlisted(repository):
    wants(repository, "lamp/rev-a/other.bin")


@refuse("It is listed, but not there.")
def target_missing(repository):
    repository.files.clear()


@accept("6.2.1: the hash goes before the file's name, not before its directory.")
def target_in_a_directory(repository):
    directory, _, name = TARGET.rpartition("/")
    repository.files = {f"{directory}/{hashlib.sha256(CONTENT).hexdigest()}.{name}": CONTENT}


@accept(
    "Consistent snapshots are optional.",
    by_design="Without them a mirror in the middle of an update is an attack; docs/format.md asks for them.",
)
def no_consistent_snapshots(repository):
    repository.roots[0].signed["consistent_snapshot"] = False
    repository.files[TARGET] = CONTENT


# --- roots ----------------------------------------------------------------------------------------------------


def new_root_keys() -> dict:
    return holders() | {"root": ([key(f"new-root-{each}") for each in "abc"], 2)}


OLD_SIGNERS = [key("root-a"), key("root-b")]
NEW_SIGNERS = [key("new-root-a"), key("new-root-b")]


@accept("5.3.4: old and new keys signed.")
def root_rotated(repository):
    repository.rotate(new_root_keys(), OLD_SIGNERS + NEW_SIGNERS)


@refuse("5.3.4: the old keys did not sign.")
def root_signed_by_new_keys_alone(repository):
    repository.rotate(new_root_keys(), NEW_SIGNERS)


@refuse("5.3.4: the new keys did not sign.")
def root_signed_by_old_keys_alone(repository):
    repository.rotate(new_root_keys(), OLD_SIGNERS)


@refuse("5.3.4: one old key is one too few.")
def root_signed_by_one_old_key(repository):
    repository.rotate(new_root_keys(), OLD_SIGNERS[:1] + NEW_SIGNERS)


@refuse("5.3.4: the new threshold is three.")
def root_with_a_higher_threshold_not_met(repository):
    roles = holders()
    repository.rotate(roles | {"root": (roles["root"][0], 3)}, OLD_SIGNERS)


@accept("5.3.9: one root leads to the next.")
def root_rotated_twice(repository):
    repository.rotate(new_root_keys(), OLD_SIGNERS + NEW_SIGNERS)
    repository.rotate(holders(), NEW_SIGNERS + OLD_SIGNERS)


@refuse("5.3.5: 2.root.json is version 3.")
def root_of_a_later_version(repository):
    repository.rotate(holders()).signed["version"] = 3


@refuse("5.3.3: without root 2 nobody gets to root 3, which alone knows who signed the timestamp.")
def root_skipped(repository):
    repository.rotate(holders()).serve = lambda file: None
    new_timestamp_key(repository)


@accept("5.3.12: the newest root names the timestamp's key.")
def timestamp_key_replaced(repository):
    new_timestamp_key(repository)


def new_timestamp_key(repository: Repository) -> None:
    repository.rotate(holders() | {"timestamp": ([key("new-timestamp")], 1)})
    repository.timestamp.signers = [key("new-timestamp")]


@refuse("5.4.2: root 2 took this key away.")
def timestamp_signed_by_a_revoked_key(repository):
    repository.rotate(holders() | {"timestamp": ([key("new-timestamp")], 1)})


@refuse("A root that is there but is none is no end of the walk.")
def next_root_is_garbage(repository):
    repository.rotate(holders()).serve = lambda file: b"<html>not found</html>"


@refuse("A file under a root's name says that it is a timestamp.")
def next_root_of_another_type(repository):
    repository.rotate(holders()).signed["_type"] = "timestamp"


# --- what a client saw before ---------------------------------------------------------------------------------


def at(versions: dict[str, int], change: Callable[[Repository], None] = unchanged) -> Repository:
    repository = four_roles()
    change(repository)
    for role, version in versions.items():
        repository.role(role).signed["version"] = version
    return repository


@accept("Nothing is new.")
def seen_before(repository):
    return at({})


@accept("All is newer.")
def newer_than_before(repository):
    for role in (repository.targets, repository.snapshot, repository.timestamp):
        role.signed["version"] = 2
    repository.targets.signed["targets"].clear()
    repository.add(TARGET, OTHER)
    wants(repository, content=OTHER)
    return at({})


@refuse("5.4.3.1: a timestamp of before.")
def timestamp_rolled_back(repository):
    return at({"timestamp": 2})


@refuse("5.4.3.2: a newer timestamp, a snapshot of before.")
def snapshot_rolled_back(repository):
    repository.timestamp.signed["version"] = 2
    return at({"snapshot": 2})


@refuse("5.5.5: a newer snapshot, targets of before.")
def targets_rolled_back(repository):
    repository.timestamp.signed["version"] = repository.snapshot.signed["version"] = 2
    return at({"targets": 2})


@refuse("5.5.5: a newer snapshot no longer names a role.")
def role_dropped_from_snapshot(repository):
    repository.timestamp.signed["version"] = repository.snapshot.signed["version"] = 2

    def with_another_role(before):
        before.delegate("targets", "other", [key("other")], paths=["other/*"])

    return at({}, with_another_role)


@accept("5.4.3.1: a timestamp of the same version is not looked at; what was trusted before still is.")
def same_timestamp_version_of_another_snapshot(repository):
    repository.timestamp.edit = lambda signed: signed["meta"]["snapshot.json"].update({"version": 7})
    return at({})


@accept("5.3.11: new keys for timestamp and snapshot end what old ones claimed.")
def recovered_from_fast_forward(repository):
    online = {"timestamp": ([key("new-timestamp")], 1), "snapshot": ([key("new-snapshot")], 1)}
    repository.rotate(holders() | online)
    repository.timestamp.signers, repository.snapshot.signers = [key("new-timestamp")], [key("new-snapshot")]
    return at({"timestamp": 1000, "snapshot": 1000, "targets": 1000})


@refuse("5.4.3.1: a new root with the same online keys ends nothing.")
def new_root_and_a_timestamp_rolled_back(repository):
    repository.rotate(new_root_keys(), OLD_SIGNERS + NEW_SIGNERS)
    return at({"timestamp": 2})


# --- delegations ----------------------------------------------------------------------------------------------


@refuse("5.6.3: one of two.", delegated)
def delegated_threshold_not_met(repository):
    repository.role("lamp").signers = lamp_keys()[:1]


@refuse("5.6.3: the delegating role's keys are not the role's.", delegated)
def delegated_role_signed_by_its_parent(repository):
    repository.role("lamp").signers = repository.targets.signers


@refuse("A threshold of 0 asks for nothing.", delegated)
def delegated_threshold_zero(repository):
    repository.targets.signed["delegations"]["roles"][0]["threshold"] = 0
    repository.role("lamp").signers = []


@refuse("5.6.2: the snapshot names another file.", delegated)
def delegated_hash_wrong(repository):
    repository.snapshot.edit = lambda signed: signed["meta"]["lamp.json"].update({"hashes": {"sha256": "0" * 64}})


@refuse("5.6.4: the snapshot names version 1.", delegated)
def delegated_version_wrong(repository):
    repository.role("lamp").signed["version"] = 2
    repository.snapshot.edit = lambda signed: signed["meta"]["lamp.json"].update({"version": 1})


@refuse("A snapshot names every delegated role.", delegated)
def snapshot_without_a_delegated_role(repository):
    repository.snapshot.edit = lambda signed: signed["meta"].pop("lamp.json")


@refuse("5.6.7: a role on the way that cannot be verified ends the search.", two_roles)
def role_on_the_way_not_in_snapshot(repository):
    repository.snapshot.edit = lambda signed: signed["meta"].pop("first.json")


@refuse("5.6.7: a role on the way that cannot be verified ends the search.", two_roles)
def role_on_the_way_unsigned(repository):
    repository.role("first").signers = []


@accept("Nobody looks at a role that may not provide the path.", partial(two_roles, paths=["desk/*/*"]))
def role_beside_the_way_unsigned(repository):
    repository.role("first").signers = []


@refuse("The path was not delegated to the role that lists it.", partial(delegated, paths=["desk/*/*"]))
def path_not_delegated(repository):
    pass


@refuse("4.5: all roles of a chain must be trusted with the path.", partial(delegated, paths=["desk/*/*"]))
def path_not_delegated_to_the_role_between(repository):
    repository.role("lamp").signed["targets"].clear()
    repository.delegate("lamp", "bulb", [key("bulb")], paths=["lamp/*/*"])
    repository.add(TARGET, CONTENT, "bulb")


@accept("4.5: all roles of this chain are trusted with the path.", delegated)
def role_between(repository):
    repository.role("lamp").signed["targets"].clear()
    repository.delegate("lamp", "bulb", [key("bulb")], paths=["*/*/lamp.bin"])
    repository.add(TARGET, CONTENT, "bulb")


PATTERNS = [
    ("accept", "exact_pattern", TARGET, "A pattern may name one path."),
    ("accept", "star_in_a_segment", "lamp/rev-*/*.bin", "`*` stands for any part of a segment."),
    ("accept", "star_for_nothing", "lamp/rev-a/lamp*.bin", "`*` may stand for nothing."),
    ("accept", "question_mark", "lamp/rev-?/lamp.bin", "`?` stands for one character."),
    ("refuse", "star_for_a_slash", "lamp/*", "`*` does not stand for a slash."),
    ("refuse", "two_stars_for_a_slash", "lamp/**", "Two stars do not stand for a slash either."),
    ("refuse", "question_mark_for_a_slash", "lamp?rev-a/lamp.bin", "`?` does not stand for a slash."),
    ("refuse", "question_mark_for_nothing", "lamp/rev-a?/lamp.bin", "`?` stands for exactly one character."),
    ("refuse", "pattern_of_a_beginning", "lamp/rev-a/lamp", "A pattern stands for the whole path."),
    ("refuse", "dot_for_any_letter", "lamp/rev-./lamp.bin", "A dot is a dot."),
]
for verdict, name, pattern, why in PATTERNS:
    case(verdict, why, partial(delegated, paths=[pattern]), name=name.replace("_", "-"))(unchanged)

refuse("A role without patterns provides nothing.", partial(delegated, paths=[]), name="no-patterns")(unchanged)
refuse("Neither patterns nor prefixes: nothing is delegated.", partial(delegated, paths=None), name="no-paths")(
    unchanged
)

for number, odd in enumerate(["?", "#", "/x", "../x", "lamp%2Fx", "2.targets"], 1):
    accept(
        f"`{odd}` is a name like any other, and percent-encoded in a file's.",
        partial(delegated, name=odd),
        name=f"role-name-{number}",
    )(unchanged)


@refuse("4.5: the names of roles are unique in `delegations`.", partial(delegated, paths=["desk/*/*"]))
def role_delegated_to_twice(repository):
    repository.delegate("targets", "lamp", lamp_keys(), 2, paths=["lamp/*/*"])


@refuse("A terminating delegation ends the search, found or not.", partial(two_roles, terminating=True))
def terminating(repository):
    pass


@accept(
    "A terminating delegation of other paths ends nothing.",
    partial(two_roles, terminating=True, paths=["desk/*/*"]),
)
def terminating_for_other_paths(repository):
    pass


@refuse("What a terminating role delegates to is searched, what comes after it is not.", two_roles)
def terminating_further_down(repository):
    repository.delegate("first", "third", [key("third")], paths=["lamp/*/*"], terminating=True)


@accept("The first role that lists a path decides.", two_roles)
def listed_in_both_roles(repository):
    repository.add(TARGET, OTHER, "first")
    wants(repository, content=OTHER)


@accept("A role's own targets come before those of the roles that it delegates to.", delegated)
def listed_by_the_parent_too(repository):
    repository.add(TARGET, OTHER)
    wants(repository, content=OTHER)


@accept("Depth first: what the first role delegates to comes before the second role.", two_roles)
def listed_below_the_first_role(repository):
    repository.delegate("first", "third", [key("third")], paths=["lamp/*/*"])
    repository.add(TARGET, OTHER, "third")
    wants(repository, content=OTHER)


@accept("5.6.7.1: a role that was visited is skipped, so a circle ends.", two_roles)
def circle(repository):
    repository.delegate("first", "third", [key("third")], paths=["lamp/*/*"])
    repository.delegate("third", "first", [key("first")], paths=["lamp/*/*"])


@refuse("5.6.7.1: a circle ends, and nobody lists the target.", two_roles)
def circle_without_the_target(repository):
    circle(repository)
    repository.role("second").signed["targets"].clear()


@accept("Two ways lead to the role that lists the target.", two_roles)
def diamond(repository):
    repository.role("second").signed["targets"].clear()
    for parent in ("first", "second"):
        repository.delegate(parent, "third", [key("third")], paths=["lamp/*/*"])
    repository.add(TARGET, CONTENT, "third")


@accept("The way through the first role is closed to this path, the one through the second is open.", two_roles)
def diamond_with_one_way(repository):
    repository.role("second").signed["targets"].clear()
    for parent, pattern in (("first", "desk/*/*"), ("second", "lamp/*/*")):
        repository.delegate(parent, "third", [key("third")], paths=[pattern])
    repository.add(TARGET, CONTENT, "third")


def chain(length: int) -> Repository:
    repository = Repository()
    wants(repository)
    parent = "targets"
    for number in range(1, length + 1):
        repository.delegate(parent, f"link-{number}", [key(f"link-{number}")], paths=["lamp/*/*"])
        parent = f"link-{number}"
    repository.add(TARGET, CONTENT, parent)
    return repository


accept("Roles may delegate further.", partial(chain, 6), name="chain-of-six")(unchanged)


@refuse("The bin that lists the target is not the path's.", hash_bins)
def target_in_another_bin(repository):
    right = bin_of(TARGET, 2)
    entry = repository.role(right).signed["targets"].pop(TARGET)
    repository.role("bin-0" if right != "bin-0" else "bin-1").signed["targets"][TARGET] = entry


@refuse("TAP 15: the bin that lists the target is not the path's.", succinct_bins)
def target_in_another_succinct_bin(repository):
    target_in_another_bin(repository)


@accept("A longer prefix is a smaller bin.", hash_bins)
def longer_prefixes(repository):
    digest = hashlib.sha256(TARGET.encode()).hexdigest()
    for entry in repository.targets.signed["delegations"]["roles"]:
        if entry["name"] == bin_of(TARGET, 2):
            entry["path_hash_prefixes"] = [digest[:12]]
