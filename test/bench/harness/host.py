"""The host's part: boots the guest, then turns its raw rounds into the report."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .chart import draw_chart
from .devices import RUBLK
from .options import REPOSITORY, RESULTS, HostOptions, to_guest_arguments
from .plan import IMAGE_BYTES, MIB
from .summary import compute_ratios, index_rounds
from .table import make_report

GUEST_MEMORY_MB = 6144
GUEST_LIMIT_S = 7200
BUSY_LOAD = 0.7
CLOCK_TITLES = {"instructions": "instruction clock", "time": "real time"}


def run_benchmark(options: HostOptions) -> int:
    if not RUBLK.exists():
        say(f"no {RUBLK.relative_to(REPOSITORY)}: run scripts/install-tool rublk")
        return 1
    load_before = os.getloadavg()[0]
    if options.clock == "time" and load_before > BUSY_LOAD:
        say(f"the machine is busy (load {load_before:.2f}), which widens the spread of every ratio")
    out = options.guest.out
    shutil.rmtree(out, ignore_errors=True)
    exit_code = run_guest(options)
    if exit_code != 0:
        return exit_code
    write_report(options, {"before": load_before, "after": os.getloadavg()[0]})
    return 0


def run_guest(options: HostOptions) -> int:
    disk = ["--disk", str(4 * IMAGE_BYTES // MIB)] if options.guest.disk == "virtio" else []
    clock = ["--instruction-clock"] if options.clock == "instructions" else []
    vm = [REPOSITORY / "test/vm/run", "--kernel", options.kernel, *clock, "--memory", str(GUEST_MEMORY_MB),
          "--timeout", str(GUEST_LIMIT_S), "--out", options.guest.out, *disk, "--"]
    guest = [REPOSITORY / "test/bench/guest", *to_guest_arguments(options.guest)]
    return subprocess.run([*vm, *guest], stdin=subprocess.DEVNULL).returncode


def write_report(options: HostOptions, host_load: dict[str, float]) -> None:
    out = options.guest.out
    raw_rounds = [read_json(path) for path in sorted(out.glob("round-*.json"))]
    guest = read_json(out / "guest.json")
    rounds = index_rounds(raw_rounds)
    ratios = compute_ratios(rounds)
    title = (
        f"Linux {guest['kernel_release']}, {len(rounds)} rounds, "
        f"xfs on a {guest['disk']} disk, {CLOCK_TITLES[options.clock]}"
    )
    report = make_report(title, rounds, ratios)
    whole = {"guest": guest, "clock": options.clock, "host_load": host_load, "ratios": ratios, "rounds": raw_rounds}
    write_result(options.kernel, "json", json.dumps(whole, indent=1) + "\n")
    write_result(options.kernel, "md", report)
    write_result(options.kernel, "svg", draw_chart(f"Ours / peer, {title}", ratios))
    print(report)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def write_result(kernel: str, extension: str, text: str) -> None:
    path = RESULTS / f"{kernel}.{extension}"
    path.write_text(text)
    say(f"wrote {path.relative_to(REPOSITORY)}")


def say(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr, flush=True)
