#!/usr/bin/env python3
"""Measures what TUF clients need for large repositories: CPU seconds (user and system), peak memory, HTTP requests.

    bench.py --client NAME=COMMAND... [--runs N] [--repositories DIR] [--measure FILE] [--check]

    cold       refresh and download of one target from `flat-100k` by a client that has a root alone
    unchanged  the same command again, with nothing new
    bins       refresh and download of one target from `bins-16k` by a client that has a root alone

Runs are interleaved, numbers are medians, and ratios are to the best of the others: all clients but `tuffet`. The
server is a process of its own. With --check it is a failure if `tuffet` needs more than a tenth of the fastest other
client's CPU or of the leanest one's memory for `cold`. Exit status: 0 done, 1 a client failed or the aim is missed.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from differential import named_command

HERE = Path(__file__).parent
OURS = "tuffet"
AIM = 10
JOBS = {"cold": "flat-100k", "unchanged": "flat-100k", "bins": "bins-16k"}
# Far more than the slowest client needs.
PATIENCE = 120

# What a client cannot do. It is an error if it fails at anything else, and if it can do this.
CANNOT = {
    ("tough", "bins"): "it has no succinct roles",
    ("sigstore-tuf", "bins"): "it has no succinct roles",
}


@dataclass
class Measured:
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    requests: set[int] = field(default_factory=set)


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--client", action="append", required=True, type=named_command, metavar="NAME=COMMAND")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--repositories", type=Path, help="kept there, and made where they are missing")
    parser.add_argument("--measure", type=Path, help="the program `measure`; else it is looked for beside the clients")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    clients = dict(arguments.client)
    measure = arguments.measure or beside(clients)
    if not measure:
        parser.error("the program `measure` is not beside a client: say --measure FILE")
    if arguments.check and OURS not in clients:
        parser.error(f"--check is about a client named {OURS}")

    with tempfile.TemporaryDirectory() as scratch:
        repositories = arguments.repositories or Path(scratch, "repositories")
        for name in set(JOBS.values()):
            if not (repositories / name / "wanted.json").exists():
                subprocess.run([sys.executable, HERE / "generate.py", name, repositories / name], check=True)
        try:
            results = run_all(clients, measure, repositories, Path(scratch), arguments.runs)
        except Failed as failure:
            print(f"bench.py: {failure}", file=sys.stderr)
            return 1
    report(clients, results, arguments.runs)
    return check(clients, results) if arguments.check else 0


class Failed(Exception):
    pass


def beside(clients: dict) -> Path | None:
    places = [Path(word).parent / "measure" for command in clients.values() for word in command if "/" in word]
    return next((place for place in places if place.is_file()), None)


def run_all(clients: dict, measure: Path, repositories: Path, scratch: Path, runs: int) -> dict:
    log = scratch / "requests"
    log.touch()
    server = subprocess.Popen(
        [sys.executable, HERE / "serve.py", repositories, "--log", log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    results = {(name, job): Measured() for name in clients for job in JOBS}
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for _ in range(runs):
            for job, repository in JOBS.items():
                # One client after the other within a job: whatever slows the machine down slows all of them.
                for name, command in clients.items():
                    place = scratch / f"{name}-{repository}"
                    if job != "unchanged":
                        fresh(command, place, repositories / repository)
                    before = lines(log)
                    done = download(command, measure, place, repositories / repository, f"{url}/{repository}")
                    if done is None:
                        if (name, job) not in CANNOT:
                            raise Failed(f"{name} fails at `{job}`: {last_words(place)}")
                        continue
                    if (name, job) in CANNOT:
                        raise Failed(f"{name} can do `{job}` now, and CANNOT is out of date")
                    cpu, memory = done
                    results[name, job].cpu.append(cpu)
                    results[name, job].memory.append(memory / 1024)
                    results[name, job].requests.add(lines(log) - before)
    finally:
        server.stdin.close()
        server.wait()
    return results


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def fresh(command: list[str], place: Path, repository: Path) -> None:
    """A client that trusts the first root and knows nothing else."""
    if place.exists():
        # Renamed, not removed: to unlink files of many MB takes time that a neighbour would notice.
        place.rename(Path(tempfile.mkdtemp(dir=place.parent)) / "old")
    (place / "metadata").mkdir(parents=True)
    (place / "targets").mkdir()
    root = repository / "metadata" / "1.root.json"
    init = subprocess.run([*command, "--metadata-dir", place / "metadata", "init", root], stdout=subprocess.DEVNULL)
    if init.returncode:
        raise Failed(f"{command} does not take its first root")


def download(command: list[str], measure: Path, place: Path, repository: Path, url: str) -> tuple[float, int] | None:
    """CPU seconds and peak KiB; None if the client refuses."""
    wanted = json.loads((repository / "wanted.json").read_text())
    where = ["--metadata-dir", place / "metadata", "--metadata-url", f"{url}/metadata"]
    what = ["--target-name", wanted["target"], "--target-base-url", f"{url}/targets", "--target-dir", place / "targets"]
    with (place / "stderr").open("w") as stderr:
        done = subprocess.run(
            [measure, *command, *where, *what, "download"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=PATIENCE,
        )
    if done.returncode:
        return None
    files = [path for path in (place / "targets").rglob("*") if path.is_file()]
    if [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] != [wanted["sha256"]]:
        raise Failed(f"{command} wrote something else than the target")
    cpu, memory = (place / "stderr").read_text().split("\n")[-2].split()
    return float(cpu), int(memory)


def last_words(place: Path) -> str:
    return " ".join((place / "stderr").read_text().split("\n")[:-2])[-300:]


def report(clients: dict, results: dict, runs: int) -> None:
    print(f"medians of {runs} interleaved runs; in brackets: times what the best other client needs")
    print(f"versions: {', '.join(versions())}")
    print(f"\n{'':12}{'':14}{'CPU s':>8}{'':10}{'MiB':>8}{'':10}{'requests':>8}")
    for job in JOBS:
        best_cpu, best_memory = (best(clients, results, job, what) for what in ("cpu", "memory"))
        for name in clients:
            measured = results[name, job]
            if not measured.cpu:
                print(f"{job:12}{name:14}{'-':>8}{'':10}{'-':>8}{'':10}{'-':>8}  {CANNOT[name, job]}")
                continue
            cpu, memory = statistics.median(measured.cpu), statistics.median(measured.memory)
            requests = "-".join(str(each) for each in sorted(measured.requests))
            print(
                f"{job:12}{name:14}{cpu:8.3f}{ratio(cpu, best_cpu):10}{memory:8.1f}{ratio(memory, best_memory):10}"
                f"{requests:>8}"
            )
        print()


def best(clients: dict, results: dict, job: str, what: str) -> float | None:
    """The least that another client needs."""
    others = [getattr(results[name, job], what) for name in clients if name != OURS]
    return min((statistics.median(each) for each in others if each), default=None)


def ratio(value: float, of: float | None) -> str:
    return f" ({value / of:.2f})" if of else ""


def versions() -> list[str]:
    """Of the rivals that this directory pins."""
    lock = (HERE / "Cargo.lock").read_text()
    crates = [
        name + " " + re.search(f'name = "{name}"\nversion = "(.*)"', lock)[1] for name in ("tough", "sigstore-tuf")
    ]
    python = re.search(r"^tuf==(.*)$", (HERE / "requirements.txt").read_text(), re.MULTILINE)[1]
    return [f"python-tuf {python} on Python {sys.version.split()[0]}", *crates]


def check(clients: dict, results: dict) -> int:
    missed = 0
    for what, unit in (("cpu", "s"), ("memory", "MiB")):
        least = best(clients, results, "cold", what)
        if least is None:
            print("bench.py: --check needs another client to compare with", file=sys.stderr)
            return 1
        ours = statistics.median(getattr(results[OURS, "cold"], what))
        met = ours * AIM <= least
        missed += not met
        print(
            f"{'met' if met else 'MISSED'}: {what} of `cold`: {ours:.3f} {unit}, at most {least / AIM:.3f} is the aim, "
            f"a {AIM}th of {least:.3f}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
