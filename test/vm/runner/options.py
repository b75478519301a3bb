"""The command line of test/vm/run."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = REPOSITORY / ".cache"
KERNELS = ("uml", "6.1", "6.12", "6.18", "7.3")
DEFAULT_MEMORY_MB = {"uml": 3072}
DEFAULT_QEMU_MEMORY_MB = 4096

EPILOG = """\
The guest sees this machine's file system, read-only below an overlay: what it writes vanishes, except below --out.
It starts in the current directory with a small environment: PATH, HOME, LANG, CI, VM_*, UBLK_*, and for each --disk
the device as VM_DISK0, VM_DISK1, and so on. VM_KERNEL names the kernel.

Exit code: the command's own, or
   96  the guest never ran the command, twice
   97  the kernel log shows a kernel defect, whatever the command returned
   98  the guest ended while the command ran
  124  the time limit passed; blocked tasks and the kernel log are printed
"""


@dataclass(frozen=True)
class Options:
    kernel: str
    timeout_s: int
    cpus: int
    memory_mb: int
    disk_sizes_mb: list[int]
    kept_disks: Path | None
    out: Path | None
    udev: bool
    instruction_clock: bool
    command: list[str]


def positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="test/vm/run",
        usage="%(prog)s [options] -- COMMAND [ARGUMENT...]",
        description="Run a command in a guest on a named kernel and carry its exit code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kernel", choices=KERNELS, default="uml", help="which kernel (default: uml, 7.3 as a process)")
    parser.add_argument("--timeout", type=positive, default=600, metavar="SECONDS", help="limit for the command (600)")
    parser.add_argument("--cpus", type=positive, default=2, metavar="N", help="virtual processors (2)")
    parser.add_argument("--memory", type=positive, metavar="MB", help="memory (3072 for uml, else 4096)")
    parser.add_argument("--disk", type=positive, action="append", default=[], metavar="SIZE_MB",
                        help="add a fresh empty disk; may be repeated")
    parser.add_argument("--keep-disks", type=Path, metavar="DIR",
                        help="keep the disks in DIR: they are those of the run before, as after a reboot")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a directory that is writable through to the host")
    parser.add_argument("--udev", action="store_true", help="start systemd-udevd in the guest")
    parser.add_argument("--instruction-clock", action="store_true",
                        help="emulate, with a clock that counts instructions: figures do not depend on the host's load")
    parser.add_argument("command", nargs="+", help=argparse.SUPPRESS)
    return parser


def parse_options(arguments: list[str]) -> Options:
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    if parsed.instruction_clock and parsed.kernel == "uml":
        parser.error("--instruction-clock needs an emulated processor, expected a --kernel other than uml")
    return Options(
        kernel=parsed.kernel,
        timeout_s=parsed.timeout,
        cpus=parsed.cpus,
        memory_mb=parsed.memory or DEFAULT_MEMORY_MB.get(parsed.kernel, DEFAULT_QEMU_MEMORY_MB),
        disk_sizes_mb=parsed.disk,
        kept_disks=make_directory(parser, "--keep-disks", parsed.keep_disks),
        out=make_directory(parser, "--out", parsed.out),
        udev=parsed.udev,
        instruction_clock=parsed.instruction_clock,
        command=parsed.command,
    )


def make_directory(parser: argparse.ArgumentParser, option: str, directory: Path | None) -> Path | None:
    if directory is None:
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{option} {directory}: {error.strerror}, expected a directory that can be written")
    return Path(os.path.realpath(directory))
