"""Runs programs in the guest: to their end with their output, or as servers until they are killed."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, TypeVar

Result = TypeVar("Result")
COMMAND_LIMIT_S = 120
READY_LIMIT_S = 90
POLL_S = 0.05


class CommandError(Exception):
    pass


def run_command(*arguments: object) -> str:
    """The command's standard output; raises with its standard error when it fails."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise CommandError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_program(name: str, directory: Path) -> list[str]:
    """Copies a program and its libraries into memory and returns the words that start the copy.

    A guest's root is a network file system without a cache, which makes every start of a large program slow.
    """
    program = Path(shutil.which(name) or name)
    libraries = re.findall(r"(/\S+) \(0x", run_command("ldd", program))
    loader = next(library for library in libraries if "/ld-linux" in library)
    directory.mkdir(parents=True)
    for file in [program, *libraries]:
        shutil.copy(file, directory)
    return [str(directory / Path(loader).name), "--library-path", str(directory), str(directory / program.name)]


def wait_for(what: str, attempt: Callable[[], Result | None], limit_s: float = READY_LIMIT_S) -> Result:
    deadline = time.monotonic() + limit_s
    while (result := attempt()) is None:
        if time.monotonic() > deadline:
            raise CommandError(f"no {what} within {limit_s} s")
        time.sleep(POLL_S)
    return result


class Server:
    """A program that serves one block device in the foreground. Its log is kept in a file."""

    def __init__(self, arguments: list[str], log: Path):
        self.log = log
        with open(log, "wb") as stream:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for_json_line(self) -> dict:
        return wait_for(f"answer in {self.log}", self._find_json_line)

    def _find_json_line(self) -> dict | None:
        self.assert_alive()
        for line in self.log.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                return json.loads(line)
        return None

    def assert_alive(self) -> None:
        if self.process.poll() is not None:
            raise CommandError(f"{self.process.args[0]} ended: {self.log.read_text(errors='replace')[-2000:]}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
