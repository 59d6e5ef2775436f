#!/usr/bin/env python3
"""Publishes repositories of every shape with tuffet, and lets other people's clients fetch and verify all of it.

    interop.py --tuffet COMMAND --keys COMMAND --client NAME=COMMAND... [--only SHAPE]... [--reasons]

The shapes are those of shapes.py. Each is served over HTTP, and each client, which has root 1 alone, is asked for every
release entry and every image by its path; what it writes must be the bytes that were released. Then, in copies, one
thing is changed (damages.py), and no client may take the target concerned; one copy is changed by those who may, and is
taken. What a client cannot do stands in gaps.toml, and is asked all the same: it must fail with the words that stand
there. Its refusals of damaged copies say nothing then, and are not counted. Exit status: 0 all is as it should be or
explained; 1 something is not, or an explanation is out of date.
"""

import argparse
import os
import shutil
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from damages import DAMAGES, ENTRY, Published
from differential import failure, named_command, run, served
from repository import canonical
from shapes import SHAPES, Team, make, ready_desk

HERE = Path(__file__).parent
WHOLE, BINS, RENAMED = "as published", "in bins", "with its names"
# How much of a client's last words is printed.
WORDS = 200
# Where clients look for a target's file that do not look where the specification says. They are asked for all that is
# published twice, the second time with every file there, too: else nothing more could be learned from them. In the
# damaged copies all files have these names besides.
ELSEWHERE = {"tough": lambda directory, digest, name: f"{digest}.{directory}/{name}"}


@dataclass
class Question:
    shape: str
    what: str
    # A directory of metadata and targets, and one that the client takes before, if any.
    public: Path
    before: Path | None
    # What it is to fetch, or must not take: bytes by path.
    targets: dict[str, bytes]
    expected: str
    # The clients that are asked.
    clients: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--tuffet", required=True, type=Path, metavar="COMMAND")
    parser.add_argument("--keys", required=True, type=Path, metavar="COMMAND")
    parser.add_argument("--client", action="append", required=True, type=named_command, metavar="NAME=COMMAND")
    parser.add_argument("--only", action="append", choices=SHAPES, metavar="SHAPE")
    parser.add_argument("--reasons", action="store_true", help="print what each client said, too")
    arguments = parser.parse_args()
    clients, names = dict(arguments.client), arguments.only or list(SHAPES)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        desk = ready_desk(scratch / "desk", arguments.keys.resolve())
        (scratch / "shapes").mkdir()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda name: make(desk, arguments.tuffet.resolve(), name, scratch / "shapes"), names)
        questions = [each for name, team in zip(names, made, strict=True) for each in about(name, team, list(clients))]
        answers = ask(clients, questions, scratch)
    if arguments.reasons:
        for question, given in zip(questions, answers, strict=True):
            for client, (verdict, words) in given.items():
                print(f"{question.shape}: {question.what}: {client}: {verdict}: {words}")
    return report(clients, questions, answers, set(names))


def about(shape: str, team: Team, clients: list[str]) -> list[Question]:
    targets, in_bins = everything(shape, team)
    renamed = team.directory / "renamed"
    shutil.copytree(team.public, renamed)
    add_names(renamed)
    elsewhere = [client for client in clients if client in ELSEWHERE]
    questions = [Question(shape, RENAMED, renamed, None, targets | in_bins, "accept", elsewhere)]
    for what, some in (BINS, in_bins), (WHOLE, targets):
        if some:
            questions.insert(0, Question(shape, what, team.public, None, some, "accept", clients))
    for damage in DAMAGES:
        if damage.of(shape):
            copy = team.directory / damage.name
            shutil.copytree(team.public, copy)
            path, content = damage.do(Published(copy, team))
            add_names(copy)
            before = renamed if damage.seen_before else None
            expected = "accept" if damage.harmless else "refuse"
            questions.append(Question(shape, damage.name, copy, before, {path: content}, expected, clients))
    return questions


def everything(shape: str, team: Team) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All that was released, by the team's own account, outside of bins and in them. What is published must be that."""
    listed, binned = {}, set()
    for role, file in Published(team.public, team).roles():
        listed |= file["signed"]["targets"]
        binned |= file["signed"]["targets"].keys() if ".bin-" in role else set()
    targets = dict(team.images)
    for path, versions in team.entries.items():
        candidates = listed[path]["custom"]["candidates"]
        if [candidate["version"] for candidate in candidates] != versions:
            raise SystemExit(f"{shape}: {path} does not list {', '.join(versions)}")
        if any(len(team.images[each["image"]["path"]]) != each["image"]["length"] for each in candidates):
            raise SystemExit(f"{shape}: {path} lists an image of another length")
        # The file is the canonical form of what the metadata say.
        targets[path] = canonical(listed[path]["custom"])
    if listed.keys() != targets.keys():
        raise SystemExit(f"{shape}: released and published differ: {', '.join(listed.keys() ^ targets.keys())}")
    parts = [{path: each for path, each in targets.items() if (path in binned) == wanted} for wanted in (False, True)]
    return parts[0], parts[1]


def add_names(public: Path) -> None:
    targets = public / "targets"
    for file in [file for file in targets.rglob("*") if file.is_file()]:
        digest, name = file.name.split(".", 1)
        for place in ELSEWHERE.values():
            other = targets / place(file.parent.relative_to(targets), digest, name)
            other.parent.mkdir(parents=True, exist_ok=True)
            # Whoever changes the one later must not change the other's inode in a third copy.
            shutil.copyfile(file, other)


# --- asking ---------------------------------------------------------------------------------------------------


def ask(clients: dict, questions: list[Question], scratch: Path) -> list[dict]:
    """For each question, of each client that is asked: `accept` or `refuse`, and its last words."""
    with served(scratch) as url, ThreadPoolExecutor(os.cpu_count()) as pool:

        def answer(asked):
            question, client = asked
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                where = lambda public: f"{url}/{public.relative_to(scratch)}"
                return verdict(clients[client], question, where, Path(place))

        asked = [(question, client) for question in questions for client in question.clients]
        answers = iter(list(pool.map(answer, asked)))
    return [{client: next(answers) for client in question.clients} for question in questions]


def verdict(command: list[str], question: Question, where, place: Path) -> tuple[str, str]:
    (place / "metadata").mkdir()
    client = [*command, "--metadata-dir", str(place / "metadata")]
    status, words = run([*client, "init", str(question.public / "1.root.json")])
    if status:
        return failure(status), words

    def download(public: Path, targets: Path) -> tuple[int | None, str]:
        targets.mkdir()
        urls = ["--metadata-url", where(public), "--target-base-url", f"{where(public)}/targets"]
        wanted = [word for path in question.targets for word in ("--target-name", path)]
        return run([*client, *urls, *wanted, "--target-dir", str(targets), "download"])

    if question.before:
        status, words = download(question.before, place / "before")
        if status != 0:
            return "lost", f"it refused what it was to see before: {words}"
    status, words = download(question.public, place / "targets")
    files = [file for file in (place / "targets").rglob("*") if file.is_file()]
    if status == 0:
        # Each client has its own way to make a file's name of a path.
        found = {path: [place / "targets" / name for name in (path, quote(path, safe=""))] for path in question.targets}
        found = {path: [file for file in names if file in files] for path, names in found.items()}
        for path, content in question.targets.items():
            if [file.read_bytes() for file in found[path]] != [content]:
                return "wrong", f"it accepted, but what it wrote is not {path}"
        return "accept", words
    # One that fetched some targets before it refused the next may have written those.
    if status == 1 and question.expected == "refuse" and any(file.read_bytes() for file in files):
        return "left", f"it refused, but left a file: {words}"
    return failure(status), words


# --- the verdict ----------------------------------------------------------------------------------------------


def report(clients: dict, questions: list[Question], answers: list[dict], made: set[str]) -> int:
    explained = {}
    for gap in tomllib.loads((HERE / "gaps.toml").read_text())["gap"]:
        for shape in gap["shapes"]:
            for what in gap["questions"]:
                explained[gap["client"], shape, what] = gap
    asked = {(client, each.shape, each.what) for each in questions for client in each.clients}
    wrong = [
        f"gaps.toml: {', '.join(key)}: there is no such question"
        for key in explained
        if key[1] not in SHAPES or (key[0] in clients and key[1] in made and key not in asked)
    ]
    # Whose refusal says something, for it took the very target before anything was changed.
    able = {
        (client, question.shape)
        for question, given in zip(questions, answers, strict=True)
        for client, (verdict, _) in given.items()
        if question.before is None and ENTRY in question.targets and verdict == question.expected == "accept"
    }

    print("what tuffet publishes, before other people's clients")
    print(f"{'':22}{'':20}{'expected':10}" + "".join(f"{name:14}" for name in clients).rstrip())
    counts = {client: dict.fromkeys(("fetched", "changed", "refused", "gaps", "unable"), 0) for client in clients}
    for question, given in zip(questions, answers, strict=True):
        line = f"{question.shape:22}{question.what:20}{question.expected:10}"
        whole = question.what in (WHOLE, BINS, RENAMED)
        for client in clients:
            if client not in given:
                line += f"{'':14}"
                continue
            verdict, words = given[client]
            gap, mark, what = explained.get((client, question.shape, question.what)), "", None
            if gap:
                counts[client]["gaps"] += 1
                mark = " *"
                if verdict != gap["verdict"] or gap["says"] not in words:
                    what = f"{verdict}, and not {gap['verdict']} with {gap['says']!r} as gaps.toml has it"
            elif not whole and (client, question.shape) not in able and verdict in ("refuse", "lost"):
                counts[client]["unable"] += 1
                mark = " -"
            elif verdict != question.expected:
                what = f"{verdict}, not {question.expected}"
            elif whole:
                counts[client]["fetched"] += len(question.targets)
            else:
                counts[client]["changed" if verdict == "accept" else "refused"] += 1
            if what:
                mark = " !"
                wrong.append(f"{client}: {question.shape}: {question.what}: {what} ({words[:WORDS]})")
            line += f"{verdict + mark:14}"
        print(line.rstrip())

    print("\n* a gap, as gaps.toml has it   ! not as it should be   - it cannot read the shape, and refuses anything")
    for client, count in counts.items():
        print(
            f"{client}: {count['fetched']} files fetched and verified, {count['changed']} changed copies taken, "
            f"{count['refused']} damaged ones refused, {count['gaps']} gaps, {count['unable']} that say nothing"
        )
    for line in wrong:
        print(line)
    total = sum(len(question.clients) for question in questions)
    print(f"{len(made)} shapes, {len(questions)} repositories, {total} questions, {len(wrong)} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
