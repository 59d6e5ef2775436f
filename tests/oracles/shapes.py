"""Repositories of every shape that `tuffet` publishes, made by the real programs as a release team makes them.

A `Team` keeps its own account of what it released, which owes nothing to what was published.
"""

import hashlib
import json
import os
import shutil
from copy import copy
from pathlib import Path

from ceremony import Desk
from repository import canonical

# The keys of products' own holders. d comes when one of the others leaves, bells' are another product's.
PRODUCT_HOLDERS = ["lamp-a", "lamp-b", "lamp-c", "lamp-d", "bell-a"]
SLOT = "65536"
BITS = 6


class Team:
    """A release team with its key holders: a workspace in `repo`, and what devices are to find in it."""

    def __init__(self, desk: Desk, tuffet: Path, directory: Path):
        directory.mkdir()
        self.desk, self.tuffet_program, self.directory = copy(desk), tuffet, directory
        self.repo = directory / "repo"
        self.staged, self.public = self.repo / "staged", self.repo / "public"
        # What holders have signed before is of this repository alone, though all have the same root 1.
        self.desk.environment = desk.environment | {"TUFFET_STATE": str(directory / "state")}
        del self.desk.environment["TUFFET_TRANSCRIPT"]
        self.holders = {"targets": ["release-a", "release-b"], "lamp": ["lamp-a", "lamp-b"], "bell": ["bell-a"]}
        self.timestamp = "online"
        # By target path: the bytes of each image, and the versions that each release entry lists, the newest first.
        self.images: dict[str, bytes] = {}
        self.entries: dict[str, list[str]] = {}

    def run(self, program, *arguments) -> str:
        done = self.desk.run(program, *arguments)
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(map(str, arguments))}: {done.stderr.decode()}")
        return done.stdout.decode()

    def tuffet(self, *arguments) -> str:
        return self.run(self.tuffet_program, "--repo", self.repo, *arguments)

    def init(self, *more) -> None:
        root = canonical(json.loads(self.desk.read("1.root.json"))["signed"])
        self.keys("trust", "1.root.json", "--digest", hashlib.sha256(root).hexdigest())
        device = ["--hardware", "rev-a", "--slot-size", SLOT, "--hardware", "rev-b", "--slot-size", SLOT]
        channels = ["--channel", "stable", "--channel", "beta"]
        self.tuffet("init", "--root", "1.root.json", "--product", "lamp", *device, *channels, *more)
        self.sign()

    def init_with_holders(self, *more) -> None:
        """A workspace whose product has holders of its own: two of a, b and c."""
        self.init("--product-key", "lamp-a.pub.pem", "--product-key", "lamp-b.pub.pem", *product_key("lamp-c"), *more)

    def add_product(self, name: str, role: str = "") -> None:
        """What a person writes into tuffet.toml."""
        with (self.repo / "tuffet.toml").open("a") as policy:
            policy.write(f'\n[products.{name}]\nchannels = ["stable", "beta"]\n{role}')
            policy.write(f"[products.{name}.hardware.front]\nslot-size = {SLOT}\n")

    def add(self, version: str, channel: str = "stable", place: str = "lamp/rev-a", **options) -> None:
        product, hardware = place.split("/")
        image = self.directory / f"{product}.bin"
        content = f"{place} {version} ".encode() * 300
        image.write_bytes(content)
        where = ["--product", product, "--hardware", hardware, "--channel", channel, "--version", version]
        more = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        self.tuffet("release", "add", image, *where, *more)
        self.images[f"{place}/versions/{version}/{image.name}"] = content
        self.entries.setdefault(f"{place}/{channel}/release", []).insert(0, version)

    def change(self, what: str, *more, channel: str = "stable") -> list[str]:
        """`tuffet release WHAT` on lamp/rev-a. Gives the channel's list, as this account has it so far."""
        self.tuffet("release", what, "--product", "lamp", "--hardware", "rev-a", "--channel", channel, *more)
        return self.entries[f"lamp/rev-a/{channel}/release"]

    def sign(self) -> list[str]:
        """Lets the holders of each staged request that lacks signatures sign it. Gives the roles."""
        roles = []
        for path in sorted(self.staged.glob("*.request.json")):
            request = json.loads(path.read_text())
            role = request["role"]
            if len(request["signatures"]) >= request["signers"][0]["threshold"]:
                continue
            review = json.loads(self.keys("review", path, "--output", "json"))
            agree = ["--yes", "--despite", str(len(review["warnings"]))]
            holders = [f"{name}.pem" for name in self.holders[role.split(".bin-")[0]]]
            self.keys("sign", path, *agree, "--key", *holders)
            roles.append(role)
        return roles

    def keys(self, *arguments) -> str:
        return self.run(self.desk.keys, *arguments)

    def publish(self) -> None:
        self.sign()
        self.tuffet("publish", *self.online())

    def online(self) -> list[str]:
        return ["--snapshot-key", "online.pem", "--timestamp-key", f"{self.timestamp}.pem"]

    def renew(self) -> None:
        """Drafts and signs until nothing is left to be drafted: each role after those above it."""
        while self.tuffet("renew").strip() and self.sign():
            pass


def product_key(name: str) -> list[str]:
    return ["--product-key", f"{name}.pub.pem"]


def product_keys(desk: Desk) -> None:
    for name in PRODUCT_HOLDERS:
        desk.tuffet_keys("generate", "--out", f"{name}.pem")


def three_releases(team: Team) -> None:
    """Releases of one product, in two publications."""
    team.add("1.0.0")
    team.add("1.0.0", place="lamp/rev-b")
    team.publish()
    team.add("1.1.0", rollout_end="in 9 days")
    team.add("1.2.0-rc.1", channel="beta")
    team.publish()


# --- the shapes -----------------------------------------------------------------------------------------------


def flat(team: Team) -> None:
    """One product, whose targets are in the top-level file."""
    team.init()
    three_releases(team)


def own_role(team: Team) -> None:
    """A product with a role of its own."""
    team.init_with_holders()
    three_releases(team)


def three_products(team: Team) -> None:
    """Three products: two with roles of their own, one of which is in bins, and one without."""
    team.init_with_holders()
    shutil.copy(team.desk.directory / "bell-a.pub.pem", team.repo / "keys")
    role = '[products.bell.role]\nkeys = ["keys/bell-a.pub.pem"]\nthreshold = 1\nbins = 3\n'
    team.add_product("bell", role)
    team.add_product("door")
    team.renew()
    three_releases(team)
    for place in ("bell/front", "door/front"):
        team.add("0.9", place=place)
        team.add("1.0", place=place)
    team.publish()


def bins(team: Team) -> None:
    """A product in 2^6 hash bins."""
    team.init_with_holders("--bins", str(BITS))
    team.renew()
    three_releases(team)


def root_rotation(team: Team) -> None:
    """Roots 2 and 3 have another root holder, another timestamp key and another holder of targets."""
    flat(team)
    team.tuffet("root", "add", "2.root.json")
    team.timestamp = "online-2"
    team.publish()
    team.tuffet("root", "add", "3.root.json")
    team.holders["targets"] = ["release-a", "release-c"]
    team.publish()
    team.add("1.3.0")
    team.publish()


def key_rotation(team: Team) -> None:
    """A holder of the product's role has left, and another one came."""
    own_role(team)
    rotate(team)


def key_rotation_in_bins(team: Team) -> None:
    """The same where all bins that there are must be signed anew."""
    bins(team)
    rotate(team)


def rotate(team: Team) -> None:
    shutil.copy(team.desk.directory / "lamp-d.pub.pem", team.repo / "keys")
    policy = team.repo / "tuffet.toml"
    # The one that signed so far is the one that leaves: what he signed counts for nothing afterwards.
    text = policy.read_text().replace('"keys/lamp-a.pub.pem"', '"keys/lamp-d.pub.pem"')
    policy.write_text(text)
    team.holders["lamp"] = ["lamp-b", "lamp-d"]
    team.renew()
    team.publish()
    team.add("1.3.0")
    team.publish()


def halts(team: Team) -> None:
    """Two images are halted, one of which devices have again."""
    flat(team)
    for version in ("1.0.0", "1.1.0"):
        team.tuffet("halt", version, *team.online())
    team.tuffet("halt", "1.0.0", "--lift", *team.online())


def life(team: Team) -> None:
    """Releases that were promoted, paused, rolled out, withdrawn and rolled back."""
    team.init()
    three_releases(team)
    beta = team.change("promote", "--to", "stable", channel="beta")
    team.entries["lamp/rev-a/stable/release"].insert(0, beta[0])
    team.publish()
    team.change("pause")
    team.publish()
    team.change("rollout", "--everybody")
    team.publish()
    team.change("withdraw", "1.1.0").remove("1.1.0")
    team.publish()
    stable = team.change("rollback", "1.0.0")
    # The old image is the newest release, and keeps its old place below.
    del stable[: stable.index("1.0.0")]
    stable.insert(0, "1.0.0")
    team.publish()


SHAPES = {
    shape.__name__.replace("_", "-"): shape
    for shape in (
        flat,
        own_role,
        three_products,
        bins,
        root_rotation,
        key_rotation,
        key_rotation_in_bins,
        halts,
        life,
    )
}


def ready_desk(directory: Path, keys: Path) -> Desk:
    """Roots 1 to 3, with every member that people read, and the keys of all holders."""
    desk = Desk(directory, keys)
    desk.ceremony()
    desk.tuffet_keys("generate", "--out", "release-c.pem")
    replaced = ["--replace-targets-key", "release-b.pub.pem", "release-c.pub.pem", "--reason", "b has left"]
    desk.tuffet_keys("root", "next", "--from", "2.root.json", *replaced, "--out", "3.request")
    desk.sign(3, ["root-a", "root-b"])
    product_keys(desk)
    for version in (1, 2, 3):
        members = json.loads(desk.read(f"{version}.root.json"))["signed"].keys()
        wanted = {"devices", "issued", "periods", "reason"} | ({"transcript"} if version > 1 else set())
        if not wanted <= members:
            raise SystemExit(f"root {version} lacks {', '.join(sorted(wanted - members))}")
    return desk


def make(desk: Desk, tuffet: Path, name: str, directory: Path) -> Team:
    """Makes a repository of a shape, below `directory`, and lets `tuffet` itself verify it."""
    team = Team(desk, tuffet, directory / name)
    SHAPES[name](team)
    if os.listdir(team.staged / "images"):
        raise SystemExit(f"{name}: images are staged that were not published")
    team.tuffet("verify")
    return team
