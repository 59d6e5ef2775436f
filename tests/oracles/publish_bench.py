#!/usr/bin/env python3
"""Measures what it takes to publish, beside python-tuf: CPU seconds (user and system) and peak memory of processes.

    publish_bench.py --tuffet COMMAND --keys COMMAND --measure FILE [--runs N] [--only ROW]... [--states DIR] [--check]

    first   the first publication, of 10,000 images of 4 KiB
    first+  the same of 100,000 images, once: is the cost linear?
    flat    one more release in one role with 100,000 targets
    bins    one more release among 1,000,000 targets in 2^14 bins

tuffet needs three processes, in turn: `release add`, the holders' `sign`, and `publish`; their seconds are added, and the
largest of their peaks counts. python-tuf has one, python_tuf_publish.py, which does the same with the same keys on the
same files; python-tuf signs what it just wrote, where tuffet's holders see a review. Every process is a new one. Runs
are interleaved, numbers are medians. python-tuf's client then looks into both results. With --check it is a failure to
miss an aim. Exit status: 0 done; 1 one of the two is missing, fails, or did not do the work, or an aim is missed.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tuf.ngclient import Updater, UpdaterConfig

import states
from differential import served

HERE = Path(__file__).parent
RIVAL = HERE / "python_tuf_publish.py"
# Far more than the slowest step needs.
PATIENCE = 3600
FIRST, MANY, FLAT, BINS, BITS = 10_000, 100_000, 100_000, 1_000_000, 14
ROWS = {
    "first": "the first publication, 10,000 images of 4 KiB",
    "first+": "the same, 100,000 images",
    "flat": "one more release in a role of 100,000 targets",
    "bins": "one more release among 1,000,000 in 2^14 bins",
}
# CPU seconds and MiB, of all three processes; below python-tuf where there is no number.
AIMS = {"flat": (0.15, 60), "bins": (0.1, 40)}
# The rival's first publication without a copy of any image: what python-tuf itself has to do with it.
ALONE = "  metadata alone"
VERSION, ENTRY = "2.0.0", "lamp/rev-a/stable/release"


class Failed(Exception):
    pass


@dataclass
class Measured:
    """CPU seconds, those of them that the system spent, which is most often on files, and the peak of MiB; of each run."""

    cpu: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def medians(self) -> tuple[float, float, float]:
        return statistics.median(self.cpu), statistics.median(self.system), statistics.median(self.memory)


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--tuffet", required=True, type=Path, metavar="COMMAND")
    parser.add_argument("--keys", required=True, type=Path, metavar="COMMAND")
    parser.add_argument("--measure", required=True, type=Path, metavar="FILE")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW")
    parser.add_argument(
        "--states", type=Path, help="what the rows start from is kept there, and made where it is missing"
    )
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    try:
        version = importlib.metadata.version("tuf")
    except importlib.metadata.PackageNotFoundError:
        print("publish_bench.py: python-tuf is not there to be compared with", file=sys.stderr)
        return 1
    pinned = re.search(r"^tuf==(.*)$", (HERE / "requirements.txt").read_text(), re.MULTILINE)[1]
    if version != pinned:
        print(f"publish_bench.py: python-tuf {version} is not {pinned} of requirements.txt", file=sys.stderr)
        return 1
    print(f"python-tuf {version} on Python {sys.version.split()[0]}, by {RIVAL.name}, which stands below")
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    programs = [path.resolve() for path in (arguments.tuffet, arguments.keys, arguments.measure)]
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        kept = (arguments.states or Path(scratch, "states")).resolve()
        for row in arguments.only or ROWS:
            try:
                bench = Bench(*programs, kept / row, Path(scratch, row))
                results = bench.run(row, 1 if row == "first+" else arguments.runs)
            except (Failed, subprocess.TimeoutExpired) as error:
                print(f"publish_bench.py: {row}: {error}", file=sys.stderr)
                return 1
            missed += report(row, results)
    print(f"\n{RIVAL.name}:\n\n{RIVAL.read_text()}")
    return 1 if arguments.check and missed else 0


class Bench:
    def __init__(self, tuffet: Path, keys: Path, measure: Path, kept: Path, scratch: Path):
        self.tuffet, self.keys, self.measure, self.kept, self.scratch = tuffet, keys, measure, kept, scratch
        scratch.mkdir()
        self.image = scratch / "lamp.bin"
        self.image.write_bytes(states.content(VERSION))

    def start(self, row: str) -> dict:
        """Makes the row's starting state, unless it is there; and what there is to know about it."""
        known = self.kept / "known.json"
        if not known.exists():
            shutil.rmtree(self.kept, ignore_errors=True)
            office, repo = states.Office(self.kept, self.tuffet, self.keys), self.kept / "repo"
            facts = {"lines": None, "paths": []}
            if row in ("first", "first+"):
                facts["lines"] = str(states.first(office, repo, MANY if row == "first+" else FIRST))
            elif row == "flat":
                facts["paths"] = states.flat(office, repo, FLAT)
            else:
                facts["paths"] = states.bins(office, repo, BINS, BITS)
            known.write_text(json.dumps(facts))
        return json.loads(known.read_text())

    def run(self, row: str, runs: int) -> dict[str, Measured]:
        facts = self.start(row)
        results: dict[str, Measured] = {}
        for number in range(runs):
            programs = {"tuffet": self.ours, "python-tuf": self.rival}
            if facts["lines"]:
                programs[ALONE] = self.rival_alone
            for who, steps in programs.items():
                repo = self.scratch / f"{who.strip()}-{number}"
                # Links, not copies: neither of the two changes a file in its place. And none is removed before the end: ext4
                # searches long for an inode where many were deleted within seconds.
                subprocess.run(["cp", "-al", self.kept / "repo", repo], check=True)
                needed: dict[str, list] = {}
                for name, command in steps(repo, facts):
                    needed.setdefault(name, []).append(self.measured(command))
                needed[who] = [each for step in needed.values() for each in step]
                for name, all_of in needed.items():
                    cpu, system, memory = zip(*all_of, strict=True)
                    measured = results.setdefault(name, Measured())
                    measured.cpu.append(sum(cpu))
                    measured.system.append(sum(system))
                    measured.memory.append(max(memory))
                if who != ALONE:
                    look(repo / "public", self.wanted(facts), facts["paths"])
        return results

    def ours(self, repo: Path, facts: dict):
        """What is measured of ours, each step when the one before has run."""
        place = ["--hardware", "rev-a", "--channel", "stable"]
        what = ["--from", facts["lines"]] if facts["lines"] else [self.image, *place, "--version", VERSION]
        yield "  release add", [self.tuffet, "--repo", repo, "release", "add", *what]
        # In each run the holders know what they knew at the start.
        state = self.scratch / "state"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.kept / "state", state)
        for command in states.Office(self.kept, self.tuffet, self.keys, state).signing(repo):
            yield "  sign", ["env", f"TUFFET_STATE={state}", *command]
        yield "  publish", [self.tuffet, "--repo", repo, "publish", *states.ONLINE]

    def rival(self, repo: Path, facts: dict):
        what = ["first", facts["lines"]] if facts["lines"] else ["more", self.image, VERSION]
        yield "python-tuf", [sys.executable, RIVAL, what[0], repo / "public", self.kept, *what[1:]]

    def rival_alone(self, repo: Path, facts: dict):
        yield ALONE, [sys.executable, RIVAL, "metadata", repo / "public", self.kept, facts["lines"]]

    def measured(self, command: list) -> tuple[float, float, float]:
        """CPU seconds, those of them in the system, and peak MiB."""
        words = [str(word) for word in command]
        with (self.scratch / "stderr").open("w+") as stderr:
            started = subprocess.Popen([self.measure, *words], cwd=self.kept, stdout=subprocess.DEVNULL, stderr=stderr)
            _, status, usage = os.wait4(started.pid, 0)
            started.returncode = os.waitstatus_to_exitcode(status)
            stderr.seek(0)
            said = stderr.read()
        if started.returncode:
            raise Failed(f"{' '.join(words)}: {said[-500:]}")
        # The peak that wait4 gives is at least that of Python, which started it.
        return usage.ru_utime + usage.ru_stime, usage.ru_stime, int(said.split()[-1]) / 1024

    def wanted(self, facts: dict) -> dict[str, bytes]:
        """Images that must be there afterwards."""
        if not facts["lines"]:
            return {f"lamp/rev-a/versions/{VERSION}/lamp.bin": states.content(VERSION)}
        count = Path(facts["lines"]).read_bytes().count(b"\n")
        versions = [states.version_of(number) for number in range(0, count, max(count // 20, 1))]
        versions.append(states.version_of(count - 1))
        return {f"lamp/rev-a/versions/{version}/lamp.bin": states.content(version) for version in versions}


def look(public: Path, images: dict[str, bytes], paths: list[str]) -> None:
    """What python-tuf's client finds: these images and the entry that lists the last of them, and paths of old ones."""
    limits = UpdaterConfig(snapshot_max_length=64 << 20, targets_max_length=64 << 20)
    with served(public) as url, tempfile.TemporaryDirectory() as place:
        root = (public / "1.root.json").read_bytes()
        (Path(place) / "metadata").mkdir()
        updater = Updater(f"{place}/metadata", url, place, f"{url}/targets", config=limits, bootstrap=root)
        updater.refresh()
        for path in [*images, ENTRY]:
            target = updater.get_targetinfo(path)
            if target is None:
                raise Failed(f"afterwards {path} is not there")
            content = Path(updater.download_target(target)).read_bytes()
            if path == ENTRY:
                newest = json.loads(content)["candidates"][0]["image"]["path"]
                if newest != list(images)[-1]:
                    raise Failed(f"afterwards the newest release is {newest}")
            elif content != images[path]:
                raise Failed(f"afterwards {path} has other bytes")
        for path in paths:
            if updater.get_targetinfo(path) is None:
                raise Failed(f"afterwards {path} is not listed any more")


def report(row: str, results: dict[str, Measured]) -> int:
    """Prints a row. Gives how many of its aims were missed."""
    of_cpu, _, of_memory = results["python-tuf"].medians()
    print(f"\n{row}: {ROWS[row]}; in brackets: times what python-tuf needs")
    print(f"{'':18}{'CPU s':>9}{'':8}{'system':>9}{'MiB':>9}")
    for name in ("  release add", "  sign", "  publish", "tuffet", "python-tuf", ALONE):
        if name in results:
            cpu, system, memory = results[name].medians()
            shares = f" ({cpu / of_cpu:.2f})", f" ({memory / of_memory:.2f})"
            print(f"{name:18}{cpu:9.3f}{shares[0]:8}{system:9.3f}{memory:9.1f}{shares[1]}")
    missed = 0
    cpu, _, memory = results["tuffet"].medians()
    aims = AIMS.get(row, (of_cpu, of_memory))
    for what, unit, value, aim in (("CPU", "s", cpu, aims[0]), ("memory", "MiB", memory, aims[1])):
        met = value <= aim
        missed += not met
        print(f"{'met' if met else 'MISSED'}: {what}: {value:.3f} {unit}, the aim is {aim:.3f}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
