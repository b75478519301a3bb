"""Finds kernel defects in a guest's kernel log, as opposed to errors that a test provokes on purpose."""

import re
from pathlib import Path

# "[   12.345678][   T42] " or the syslog form "<4>[   12.345678] "
PREFIX = re.compile(r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\])?(?:\[\s*[TC]\d+\])?\s*")

DEFECTS = re.compile(
    r"""
      ^WARNING:\s
    | ^BUG:\s
    | ^Oops\b
    | \bkernel\ BUG\ at\b
    | \bgeneral\ protection\ fault\b
    | \bUnable\ to\ handle\ kernel\b
    | ^Kernel\ panic\b
    | ^INFO:\ task\ .*\ blocked\ (?:for\ more\ than|in\ I/O\ wait)
    | \bpossible\ (?:circular|recursive)\ locking\b
    | ^INFO:\ (?:possible|trying\ to\ register\ non-static|inconsistent)\b
    | \binconsistent\ lock\ state\b
    | \bsuspicious\ RCU\ usage\b
    | \block\ held\ when\ returning\ to\ user\ space\b
    | \brcu.*\bstall(?:s|ed)?\b
    | \bself-detected\ stall\b
    | \b(?:soft|hard)\ (?:lockup|LOCKUP)\b
    | \bKASAN:
    | \bUBSAN:
    | \bKCSAN:
    | ^refcount_t:
    | \blist_(?:add|del)\ corruption\b
    | \bscheduling\ while\ atomic\b
    """,
    re.VERBOSE,
)

# Written to the guest's kernel log by its init.
COMMAND_STARTS = "vm: the command starts"

# Lines that look like defects and are none. Each needs its reason.
HARMLESS: tuple[tuple[re.Pattern[str], str], ...] = ()


class KernelLog:
    """Keeps the whole log in a file, and the lines that show a defect."""

    def __init__(self, path: Path):
        self.path = path
        self.defects: list[str] = []
        self._file = open(path, "w", buffering=1, errors="replace")

    def add(self, line: str) -> None:
        self._file.write(line + "\n")
        if is_defect(line):
            self.defects.append(line)

    def close(self) -> None:
        self._file.close()

    def tail(self, count: int) -> list[str]:
        """The last lines, of the boot only when there is nothing later."""
        lines = self.path.read_text(errors="replace").splitlines()
        start = next((index for index, line in enumerate(lines) if COMMAND_STARTS in line), 0)
        return lines[start:][-count:]


def is_defect(line: str) -> bool:
    message = PREFIX.sub("", line)
    if any(pattern.search(message) for pattern, _ in HARMLESS):
        return False
    return DEFECTS.search(message) is not None
