"""One boot of a guest: its process, and the two streams that come out of it."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Callable

PR_SET_PDEATHSIG = 1
POLL_S = 0.05
POWER_OFF_LIMIT_S = 10

LIBC = ctypes.CDLL(None)


class Machine:
    """The guest's process in a session of its own, so that it can be ended with everything it started."""

    def __init__(self, arguments: Callable[[int, int], list[str]], on_log_line: Callable[[str], None]):
        log_read, log_write = os.pipe()
        output_read, output_write = os.pipe()
        self.process = subprocess.Popen(
            arguments(log_write, output_write),
            stdin=subprocess.DEVNULL,
            stdout=log_write,
            stderr=log_write,
            pass_fds=(log_write, output_write),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        os.close(log_write)
        os.close(output_write)
        self.pumps = [
            threading.Thread(target=pump_lines, args=(log_read, on_log_line), daemon=True),
            threading.Thread(target=pump_output, args=(output_read,), daemon=True),
        ]
        for pump in self.pumps:
            pump.start()

    def wait(self, until: Callable[[], bool], limit_s: float) -> bool:
        """True as soon as `until` holds; False when the guest ended or the limit passed first."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if until():
                return True
            if self.process.poll() is not None:
                return until()
            time.sleep(POLL_S)
        return until()

    def wait_for_power_off(self) -> None:
        try:
            self.process.wait(POWER_OFF_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass

    def end(self) -> None:
        """Kill what is left and take in the rest of its output."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        for pump in self.pumps:
            pump.join(timeout=POWER_OFF_LIMIT_S)


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def pump_lines(fd: int, on_line: Callable[[str], None]) -> None:
    with os.fdopen(fd, "r", errors="replace", newline="\n") as stream:
        for line in stream:
            on_line(line.rstrip("\r\n"))


def pump_output(fd: int) -> None:
    while chunk := os.read(fd, 65536):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    os.close(fd)
