"""Readers of result files. Each turns one file into a list of cases; nothing else trusts a tool's own totals."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"


@dataclass(frozen=True)
class Case:
    name: str
    status: str


class UnreadableResult(Exception):
    """The file is no result that we know, or contradicts itself."""


def read_cases(path: Path) -> list[Case]:
    try:
        if path.suffix == ".xml":
            return read_junit(ElementTree.parse(path).getroot())
        return read_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise UnreadableResult(f"{path}: not a result file ({error})") from error


def read_json(result: dict) -> list[Case]:
    if "numTotalTests" in result:
        return read_jest(result)
    if "testsuites" in result:
        return read_gtest(result)
    return read_simple(result)


def read_jest(result: dict) -> list[Case]:
    statuses = {"passed": PASSED, "failed": FAILED}
    cases = []
    for file in result["testResults"]:
        assertions = file["assertionResults"]
        cases += [Case(case["fullName"], statuses.get(case["status"], SKIPPED)) for case in assertions]
        # A file that does not even load has no assertions and must not look like nothing.
        if file["status"] == "failed" and not any(case["status"] == "failed" for case in assertions):
            cases.append(Case(f"{file['name']} could not run", FAILED))
    if result.get("wasInterrupted"):
        cases.append(Case("jest was interrupted", FAILED))
    return cases


def read_gtest(result: dict) -> list[Case]:
    return [
        Case(f"{suite['name']}.{case['name']}", gtest_status(case))
        for suite in result["testsuites"]
        for case in suite["testsuite"]
    ]


def gtest_status(case: dict) -> str:
    if case.get("failures"):
        return FAILED
    return PASSED if case["status"] == "RUN" and case["result"] == "COMPLETED" else SKIPPED


def read_junit(root: ElementTree.Element) -> list[Case]:
    cases = [Case(case.get("name", "?"), junit_status(case)) for case in root.iter("testcase")]
    # Ginkgo reports its own set-up steps beside the specs: they count only when they fail.
    return [case for case in cases if case.status == FAILED or not is_ginkgo_step(case.name)]


def is_ginkgo_step(name: str) -> bool:
    return name.startswith("[") and not name.startswith("[It]")


def junit_status(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED
    return SKIPPED if case.find("skipped") is not None else PASSED


def read_simple(result: dict) -> list[Case]:
    """Our own format: {"suite", "passed", "failed", "cases": [{"name", "status"}]}."""
    cases = [Case(case["name"], case["status"]) for case in result["cases"]]
    for status in (PASSED, FAILED):
        listed = sum(case.status == status for case in cases)
        if result[status] != listed:
            raise UnreadableResult(f"{result['suite']}: says {result[status]} {status} but lists {listed}")
    unknown = {case.status for case in cases} - {PASSED, FAILED, SKIPPED}
    if unknown:
        raise UnreadableResult(f"{result['suite']}: unknown status {', '.join(sorted(unknown))}")
    return cases
