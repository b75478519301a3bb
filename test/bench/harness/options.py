"""The command lines of test/bench/run and test/bench/guest."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from .plan import DEVICES, WORKLOADS, devices_for

REPOSITORY = Path(__file__).resolve().parents[3]
RESULTS = REPOSITORY / ".cache/bench"
KERNELS = ("6.12", "6.18", "7.3")
DISKS = ("ram", "virtio")
CLOCKS = ("instructions", "time")


@dataclass(frozen=True)
class GuestOptions:
    out: Path
    rounds: int
    seconds: float
    disk: str
    devices: list[str]
    workloads: list[str]


@dataclass(frozen=True)
class HostOptions:
    kernel: str
    clock: str
    guest: GuestOptions


def positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def names_from(known: dict):
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; expected any of {', '.join(known)}")
        return names

    return parse


def add_measurement_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=positive, default=5, help="rounds over all devices and workloads (5)")
    parser.add_argument("--seconds", type=float, default=0.06, help="length of one measurement in guest time (0.06)")
    parser.add_argument("--disk", choices=DISKS, default="ram", help="what carries the xfs (ram)")
    parser.add_argument("--devices", type=names_from(DEVICES), help="comma-separated; default: all that the kernel can")
    parser.add_argument("--workloads", type=names_from(WORKLOADS), default=list(WORKLOADS), help="comma-separated")


def to_guest_options(parsed: argparse.Namespace, out: Path) -> GuestOptions:
    return GuestOptions(out, parsed.rounds, parsed.seconds, parsed.disk, parsed.devices, parsed.workloads)


def parse_host_options(arguments: list[str]) -> HostOptions:
    parser = argparse.ArgumentParser(prog="test/bench/run", description="Measure our devices beside their peers.")
    parser.add_argument("--kernel", choices=KERNELS, default="7.3", help="guest kernel (7.3)")
    parser.add_argument("--clock", choices=CLOCKS, default="instructions",
                        help="what a guest's second is: instructions executed, whatever the host's load, or real time")
    add_measurement_options(parser)
    parsed = parser.parse_args(arguments)
    parsed.devices = parsed.devices or devices_for(parsed.kernel)
    return HostOptions(parsed.kernel, parsed.clock, to_guest_options(parsed, RESULTS / f"{parsed.kernel}.raw"))


def parse_guest_options(arguments: list[str]) -> GuestOptions:
    parser = argparse.ArgumentParser(prog="test/bench/guest")
    parser.add_argument("--out", type=Path, required=True)
    add_measurement_options(parser)
    parsed = parser.parse_args(arguments)
    return to_guest_options(parsed, parsed.out)


def to_guest_arguments(options: GuestOptions) -> list[str]:
    return [
        "--out", str(options.out), "--rounds", str(options.rounds), "--seconds", str(options.seconds),
        "--disk", options.disk, "--devices", ",".join(options.devices), "--workloads", ",".join(options.workloads),
    ]
