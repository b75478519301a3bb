"""What the guest runs of one kernel say about its features."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from readers import FAILED, PASSED, Case, UnreadableResult, read_cases


class MissingRun(Exception):
    """A run that the table needs has not taken place, or ended before it said anything."""


@dataclass(frozen=True)
class Feature:
    name: str
    first_kernel: str
    offered: bool


@dataclass
class Kernel:
    name: str
    release: str
    mask: str
    features: list[Feature]
    cases: list[Case] = field(default_factory=list)
    # The cases that exercised a feature, with how they ended.
    exercised: dict[str, list[str]] = field(default_factory=dict)

    def count(self, status: str) -> int:
        return sum(case.status == status for case in self.cases)


def read_kernel(results: Path, name: str) -> Kernel:
    """The run without udev is needed; that with udev adds to it where there is one."""
    kernel = read_description(results / name, name)
    for directory in (results / name, results / f"udev-{name}"):
        if (directory / "jest.json").exists():
            add_run(kernel, directory)
    if not kernel.cases:
        raise MissingRun(f"{results / name} has no cases: run the suites on {name} first")
    return kernel


def read_description(directory: Path, name: str) -> Kernel:
    lines = read_lines(directory / "kernel.jsonl")
    if not lines:
        raise MissingRun(f"{directory} does not say what kernel it was: run the suites on {name} first")
    description = lines[-1]
    features = [Feature(one["name"], one["firstKernel"], one["offered"]) for one in description["features"]]
    return Kernel(name, description["release"], description["mask"], features)


def add_run(kernel: Kernel, directory: Path) -> None:
    try:
        cases = read_cases(directory / "jest.json")
    except UnreadableResult as error:
        raise MissingRun(str(error)) from error
    kernel.cases += cases
    statuses = {case.name: case.status for case in cases}
    # A case may say so for several devices; it counts once.
    claims = {(line["case"], feature): None for line in read_lines(directory / "features.jsonl") for feature in line["features"]}
    for case, feature in claims:
        # A case that jest does not know about has proven nothing.
        kernel.exercised.setdefault(feature, []).append(statuses.get(case, FAILED))


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def verdict(kernel: Kernel, feature: Feature) -> str:
    """One cell of the table."""
    statuses = kernel.exercised.get(feature.name, [])
    passed = statuses.count(PASSED)
    if not feature.offered:
        return "**claimed without the feature**" if statuses else "–"
    if FAILED in statuses:
        return f"**{statuses.count(FAILED)} failed**"
    return f"tested ({passed})" if passed else "not tested"
