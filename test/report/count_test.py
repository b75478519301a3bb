"""What test/report/count makes of each kind of result file, and of a missing one."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

COUNT = Path(__file__).resolve().parent / "count"

JEST = {
    "numTotalTests": 3,
    "testResults": [{
        "name": "a.test.ts",
        "status": "failed",
        "assertionResults": [
            {"fullName": "a works", "status": "passed"},
            {"fullName": "a fails", "status": "failed"},
            {"fullName": "a waits", "status": "pending"},
        ],
    }],
}
GTEST = {
    "tests": 3,
    "testsuites": [{
        "name": "Ring",
        "testsuite": [
            {"name": "passes", "status": "RUN", "result": "COMPLETED"},
            {"name": "fails", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "no"}]},
            {"name": "skips", "status": "RUN", "result": "SKIPPED"},
            {"name": "disabled", "status": "NOTRUN", "result": "SUPPRESSED"},
        ],
    }],
}
GINKGO = """<testsuites><testsuite>
  <testcase name="[BeforeSuite]" status="passed"/>
  <testcase name="[It] creates a volume" status="passed"/>
  <testcase name="[It] makes a snapshot" status="skipped"><skipped message="not supported"/></testcase>
  <testcase name="[It] deletes a volume" status="failed"><failure message="no"/></testcase>
</testsuite></testsuites>"""


def simple(passed: int, failed: int) -> dict:
    cases = [{"name": f"p{n}", "status": "passed"} for n in range(passed)]
    cases += [{"name": f"f{n}", "status": "failed"} for n in range(failed)]
    return {"suite": "own", "passed": passed, "failed": failed, "cases": cases}


class CountTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)

    def write(self, name: str, result) -> None:
        (self.directory / name).write_text(result if isinstance(result, str) else json.dumps(result))

    def count(self, *names: str) -> tuple[int, list[str]]:
        run = subprocess.run([COUNT, self.directory, *names], capture_output=True, text=True)
        return run.returncode, run.stdout.splitlines()

    def test_our_own_format_passes(self):
        self.write("own.json", simple(2, 0))
        self.assertEqual(self.count("own"), (0, ["suite own: 2 passed, 0 failed, 0 skipped", "2 passed, 0 failed"]))

    def test_jest_keeps_pending_apart(self):
        self.write("jest.json", JEST)
        code, lines = self.count()
        self.assertEqual(code, 1)
        self.assertEqual(lines[0], "suite jest: 1 passed, 1 failed, 1 skipped")
        self.assertIn("  failed: a fails", lines)

    def test_a_jest_file_that_does_not_load_is_a_failure(self):
        broken = {"numTotalTests": 0, "testResults": [{"name": "b", "status": "failed", "assertionResults": []}]}
        self.write("jest.json", broken)
        self.assertEqual((self.count()[0], self.count()[1][-1]), (1, "0 passed, 1 failed"))

    def test_gtest_counts_disabled_and_skipped_as_skipped(self):
        self.write("native.json", GTEST)
        code, lines = self.count()
        self.assertEqual((code, lines[0]), (1, "suite native: 1 passed, 1 failed, 2 skipped"))

    def test_ginkgo_leaves_out_its_own_steps(self):
        self.write("sanity.xml", GINKGO)
        code, lines = self.count()
        self.assertEqual((code, lines[0]), (1, "suite sanity: 1 passed, 1 failed, 1 skipped"))

    def test_sums_over_suites_in_the_last_line(self):
        self.write("one.json", simple(2, 0))
        self.write("two.json", simple(3, 1))
        code, lines = self.count()
        self.assertEqual((code, lines[-1]), (1, "5 passed, 1 failed"))

    def test_a_missing_suite_fails(self):
        self.write("one.json", simple(1, 0))
        code, lines = self.count("one", "two")
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed"))

    def test_a_suite_that_was_not_asked_for_is_left_out(self):
        self.write("one.json", simple(1, 0))
        self.write("old.json", simple(7, 0))
        self.assertEqual(self.count("one")[1][-1], "1 passed, 0 failed")

    def test_nothing_at_all_fails(self):
        self.assertEqual((self.count()[0], self.count()[1][-1]), (1, "0 passed, 1 failed"))

    def test_a_suite_that_ran_nothing_fails(self):
        self.write("empty.json", simple(0, 0))
        self.assertEqual((self.count()[0], self.count()[1][-1]), (1, "0 passed, 1 failed"))

    def test_broken_and_contradicting_files_fail(self):
        for result in ("{", "[]", "null", json.dumps({**simple(2, 0), "passed": 3})):
            with self.subTest(result=result):
                self.write("bad.json", result)
                self.assertEqual((self.count()[0], self.count()[1][-1]), (1, "0 passed, 1 failed"))


if __name__ == "__main__":
    unittest.main()
