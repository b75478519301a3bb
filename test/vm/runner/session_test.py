"""When a guest is booted again, and how an outcome becomes an exit code."""

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runner import session  # noqa: E402
from runner.session import Outcome  # noqa: E402

OPTIONS = SimpleNamespace(kernel="uml", command=["true"], timeout_s=1)


def boot_with(outcomes: list[Outcome], defects: list[str]) -> tuple[Outcome, int]:
    log = SimpleNamespace(defects=defects)
    with mock.patch.object(session, "boot_once", side_effect=outcomes) as boots, mock.patch.object(session, "say"):
        return session.boot_until_run(OPTIONS, None, log), boots.call_count


def judged(outcome: Outcome, exit_code: int | None, defects: list[str]) -> int:
    exchange = SimpleNamespace(exit_code=lambda: exit_code, timed_out=lambda: False)
    with mock.patch.object(session, "report"), mock.patch.object(session, "say"):
        return session.judge(OPTIONS, exchange, SimpleNamespace(defects=defects), outcome)


class BootUntilRunTest(unittest.TestCase):
    def test_a_guest_that_never_ran_the_command_is_booted_once_more(self):
        self.assertEqual(boot_with([Outcome.NEVER_RAN, Outcome.FINISHED], []), (Outcome.FINISHED, 2))
        self.assertEqual(boot_with([Outcome.NEVER_RAN, Outcome.NEVER_RAN], []), (Outcome.NEVER_RAN, 2))

    def test_a_command_that_ran_is_never_run_again(self):
        for outcome in (Outcome.FINISHED, Outcome.GUEST_ENDED, Outcome.TIMED_OUT):
            with self.subTest(outcome=outcome):
                self.assertEqual(boot_with([outcome], []), (outcome, 1))

    def test_a_kernel_defect_during_boot_is_not_hidden_by_another_boot(self):
        self.assertEqual(boot_with([Outcome.NEVER_RAN], ["Oops"]), (Outcome.NEVER_RAN, 1))


class JudgeTest(unittest.TestCase):
    def test_each_outcome_has_its_exit_code(self):
        cases = (
            (Outcome.FINISHED, 0, [], 0),
            (Outcome.FINISHED, 3, [], 3),
            (Outcome.FINISHED, 0, ["WARNING"], 97),
            (Outcome.FINISHED, 3, ["WARNING"], 97),
            (Outcome.NEVER_RAN, None, [], 96),
            (Outcome.NEVER_RAN, None, ["panic"], 97),
            (Outcome.GUEST_ENDED, None, [], 98),
            (Outcome.GUEST_ENDED, None, ["panic"], 97),
            (Outcome.TIMED_OUT, 124, [], 124),
            (Outcome.TIMED_OUT, None, ["hung task"], 124),
        )
        for outcome, exit_code, defects, expected in cases:
            with self.subTest(outcome=outcome, exit_code=exit_code, defects=defects):
                self.assertEqual(judged(outcome, exit_code, defects), expected)


if __name__ == "__main__":
    unittest.main()
