#!/usr/bin/env python3
"""Asks several TUF clients for a verdict on each repository of cases.py, and compares it with the specification's.

    differential.py --client NAME=COMMAND... [--cases DIR] [--only CASE]... [--reasons]

COMMAND takes the arguments of the TUF project's conformance suite. Each case is served over loopback to a client
that trusts its 1.root.json; where the case has a `before`, the client has downloaded from that first. Exit status:
0 all verdicts are as expected or explained in disagreements.toml; 1 one is not, or an explanation is out of date.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
# A client that takes longer than this hangs: the slowest case takes a second.
PATIENCE = 30


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--client", action="append", required=True, type=named_command, metavar="NAME=COMMAND")
    parser.add_argument("--cases", type=Path, help="made by `generate.py cases`; without it they are made anew")
    parser.add_argument("--only", action="append", metavar="CASE")
    parser.add_argument("--reasons", action="store_true", help="print what each client said, too")
    arguments = parser.parse_args()
    clients = dict(arguments.client)
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.cases or Path(scratch, "cases")
        if not arguments.cases:
            subprocess.run([sys.executable, HERE / "generate.py", "cases", directory], check=True)
        cases = json.loads((directory / "manifest.json").read_text())
        known = {case["name"] for case in cases}
        if arguments.only:
            if unknown := set(arguments.only) - known:
                parser.error(f"no such case: {', '.join(sorted(unknown))}")
            cases = [case for case in cases if case["name"] in arguments.only]
        verdicts = ask(clients, cases, directory, Path(scratch))
    if arguments.reasons:
        for (name, case), (given, words) in verdicts.items():
            print(f"{case}: {name}: {given}: {words}")
    return compare(clients, cases, known, verdicts)


def named_command(text: str) -> tuple[str, list[str]]:
    name, _, command = text.partition("=")
    words = shlex.split(command)
    if not name or not words:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    if not shutil.which(words[0]):
        raise argparse.ArgumentTypeError(f"there is no program {words[0]}")
    return name, words


@contextmanager
def served(directory: Path):
    """Serves a directory, and gives its URL."""
    server = subprocess.Popen(
        [sys.executable, HERE / "serve.py", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait()


def ask(clients: dict, cases: list, directory: Path, scratch: Path) -> dict:
    with served(directory) as url:
        questions = [(name, case) for case in cases for name in clients]

        def answer(question):
            name, case = question
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                return verdict(clients[name], case, directory / case["name"], f"{url}/{case['name']}", Path(place))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            answers = pool.map(answer, questions)
            return {(name, case["name"]): each for (name, case), each in zip(questions, answers, strict=True)}


def verdict(command: list[str], case: dict, files: Path, url: str, place: Path) -> tuple[str, str]:
    """`accept` or `refuse` and the client's last words; or another word, for what no explanation can excuse."""
    metadata, targets = place / "metadata", place / "targets"
    metadata.mkdir()
    client = [*command, "--metadata-dir", str(metadata)]
    status, words = run([*client, "init", str(files / "metadata" / "1.root.json")])
    if status:
        # A client need not look at its root yet, but may.
        return failure(status), words

    def download(url: str, targets: Path) -> tuple[int | None, str]:
        targets.mkdir()
        where = ["--metadata-url", f"{url}/metadata", "--target-base-url", f"{url}/targets"]
        what = ["--target-name", case["target"], "--target-dir", str(targets)]
        return run([*client, *where, *what, "download"])

    if case["before"]:
        status, words = download(f"{url}/before", place / "before")
        if status != 0:
            return "lost", f"it refused what it was to see before: {words}"
    status, words = download(url, targets)
    contents = [path.read_bytes() for path in targets.rglob("*") if path.is_file()]
    if status == 0:
        if case["sha256"] and [hashlib.sha256(each).hexdigest() for each in contents] != [case["sha256"]]:
            return "wrong", "it accepted, but what it wrote is not the target"
        return "accept", words
    if status == 1 and any(contents):
        return "left", f"it refused, but left a file: {words}"
    return failure(status), words


def failure(status: int | None) -> str:
    return "hang" if status is None else "refuse" if status == 1 else "crash"


def run(command: list[str]) -> tuple[int | None, str]:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return None, f"nothing for {PATIENCE} s"
    return done.returncode, (done.stderr.strip() or done.stdout.strip()).split("\n")[-1]


def compare(clients: dict, cases: list, known: set, verdicts: dict) -> int:
    explained = {}
    for entry in tomllib.loads((HERE / "disagreements.toml").read_text())["disagreement"]:
        for case in entry["cases"]:
            explained[entry["client"], case] = entry["why"]

    width = max(len(case["name"]) for case in cases) + 2
    print(f"{'':{width}}{'expected':10}" + "".join(f"{name:14}" for name in clients))
    wrong, differing = [], set()
    for case in cases:
        line = f"{case['name']:{width}}{case['expected']:10}"
        for name in clients:
            given, words = verdicts[name, case["name"]]
            mark = ""
            if given != case["expected"]:
                differing.add((name, case["name"]))
                if name == "tuffet" and case["by_design"] and given == "refuse":
                    mark = " d"
                elif (name, case["name"]) in explained and given in ("accept", "refuse"):
                    mark = " *"
                else:
                    mark = " !"
                    wrong.append(f"{name}: {case['name']}: {given}, not {case['expected']}: {case['reason']} ({words})")
            line += f"{given + mark:14}"
        print(line.rstrip())

    asked = {case["name"] for case in cases}
    stale = [
        f"disagreements.toml: {name}: {case}: " + ("there is no such case" if case not in known else "it agrees now")
        for name, case in explained
        if case not in known or (name in clients and case in asked and (name, case) not in differing)
    ]
    print("\n* explained in disagreements.toml   ! not explained   d refused by design (see the case)")
    for name in clients:
        disagreed = sum(1 for client, _ in differing if client == name)
        print(f"{name}: {len(cases) - disagreed} of {len(cases)} as the specification says")
    for line in wrong + stale:
        print(line)
    agreed = len(verdicts) - len(differing)
    print(
        f"{len(cases)} cases, {len(clients)} clients: {agreed} verdicts as expected, "
        f"{len(differing) - len(wrong)} explained, {len(wrong)} not explained, {len(stale)} explanations out of date"
    )
    return 1 if wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main())
