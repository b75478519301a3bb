"""One run from kernel to verdict: boot, watch, boot again if the command never ran, judge."""

import os
import shutil
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path

from .exchange import Exchange
from .kernel_log import KernelLog
from .machine import Machine
from .options import CACHE, REPOSITORY, Options
from .qemu import QemuGuest
from .uml import UmlGuest

EXIT_NEVER_RAN = 96
EXIT_KERNEL_DEFECT = 97
EXIT_GUEST_ENDED = 98
EXIT_TIMED_OUT = 124
BOOTS = 2
LOG_TAIL_LINES = 200
DEFECTS_SHOWN = 10


class Outcome(Enum):
    NEVER_RAN = "never ran"
    GUEST_ENDED = "guest ended"
    TIMED_OUT = "timed out"
    FINISHED = "finished"


def run_session(options: Options) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    if subprocess.run([REPOSITORY / "test/vm/kernels/fetch", options.kernel], stdin=subprocess.DEVNULL).returncode:
        return EXIT_NEVER_RAN
    with Exchange(options) as exchange:
        log = KernelLog(exchange.path / "kernel.log")
        outcome = boot_until_run(options, exchange, log)
        log.close()
        return judge(options, exchange, log, outcome)


def boot_until_run(options: Options, exchange: Exchange, log: KernelLog) -> Outcome:
    for boot in range(1, BOOTS + 1):
        outcome = boot_once(options, exchange, log)
        if outcome is not Outcome.NEVER_RAN or log.defects:
            break
        say(f"boot {boot} of {BOOTS} on {options.kernel} never ran the command")
    return outcome


def boot_once(options: Options, exchange: Exchange, log: KernelLog) -> Outcome:
    guest = make_guest(options, exchange)
    guest.prepare()
    begin = time.monotonic()
    machine = Machine(guest.arguments, log.add)
    try:
        if not machine.wait(exchange.started, guest.boot_limit_s):
            return Outcome.NEVER_RAN
        say(f"{guest.name} runs the command {time.monotonic() - begin:.1f} s after power-on")
        finished = machine.wait(lambda: exchange.exit_code() is not None, options.timeout_s + guest.grace_s)
        if finished:
            machine.wait_for_power_off()
            return Outcome.TIMED_OUT if exchange.timed_out() else Outcome.FINISHED
        return Outcome.GUEST_ENDED if machine.process.poll() is not None else Outcome.TIMED_OUT
    finally:
        machine.end()


def make_guest(options: Options, exchange: Exchange) -> UmlGuest | QemuGuest:
    return UmlGuest(options, exchange) if options.kernel == "uml" else QemuGuest(options, exchange)


def judge(options: Options, exchange: Exchange, log: KernelLog, outcome: Outcome) -> int:
    exit_code = exchange.exit_code()
    for line in log.defects[:DEFECTS_SHOWN]:
        say(f"kernel defect: {line}")
    if outcome is Outcome.FINISHED and not log.defects:
        return exit_code
    report(options, log, outcome, shown_by_guest=exchange.timed_out())
    if outcome is Outcome.TIMED_OUT:
        return EXIT_TIMED_OUT
    if log.defects:
        say(f"failed because of the kernel log, the command itself had exit code {exit_code}")
        return EXIT_KERNEL_DEFECT
    return EXIT_NEVER_RAN if outcome is Outcome.NEVER_RAN else EXIT_GUEST_ENDED


def report(options: Options, log: KernelLog, outcome: Outcome, shown_by_guest: bool) -> None:
    if outcome is not Outcome.FINISHED:
        say(f"{outcome.value}: {' '.join(options.command)} (limit {options.timeout_s} s)")
    if not shown_by_guest:
        say("end of the guest's kernel log:")
        print("\n".join(log.tail(LOG_TAIL_LINES)), file=sys.stderr, flush=True)
    kept = CACHE / f"vm/logs/{options.kernel}-{os.getpid()}.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(log.path, kept)
    say(f"all of it: {kept}")


def say(message: str) -> None:
    print(f"vm: {message}", file=sys.stderr, flush=True)
