"""The directory through which host and guest of one run talk: the guest's settings go in, its verdict comes out."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from .options import REPOSITORY, Options

PASSED_NAMES = ("PATH", "HOME", "LANG", "CI")
PASSED_PREFIXES = ("VM_", "UBLK_")


class Exchange:
    """Use as a context manager: the directory and its disk images are removed at the end."""

    def __init__(self, options: Options):
        self.options = options
        self.path = Path(os.path.realpath(tempfile.mkdtemp(prefix="ublk-vm-")))
        self.disks = [self._make_disk(index, size) for index, size in enumerate(options.disk_sizes_mb)]

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _make_disk(self, index: int, size_mb: int) -> Path:
        """A kept disk keeps what is on it."""
        path = (self.options.kept_disks or self.path) / f"disk{index}"
        with open(path, "ab") as image:
            image.truncate(size_mb << 20)
        return path

    def write(self, disk_devices: list[str], settings: dict[str, str]) -> None:
        """Write what the guest's init reads. `disk_devices` are the guest's names of the disks."""
        environment = passed_environment()
        environment["VM_KERNEL"] = self.options.kernel
        environment.update({f"VM_DISK{index}": device for index, device in enumerate(disk_devices)})
        write_list(self.path / "environment", [f"{name}={value}" for name, value in environment.items()])
        write_list(self.path / "command", self.options.command)
        results = self.path / "results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        lines = {**self._settings(results), **settings}.items()
        (self.path / "settings").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in lines))

    def _settings(self, results: Path) -> dict[str, str]:
        return {
            "repository": str(REPOSITORY),
            "working_directory": os.getcwd(),
            "results": str(results),
            "out": str(self.options.out or ""),
            "timeout_s": str(self.options.timeout_s),
            "udev": "yes" if self.options.udev else "",
        }

    def started(self) -> bool:
        return (self.path / "results/started").exists()

    def timed_out(self) -> bool:
        return (self.path / "results/timed-out").exists()

    def exit_code(self) -> int | None:
        """None while, or when, the guest did not report one."""
        try:
            return int((self.path / "results/exit-code").read_text())
        except (FileNotFoundError, ValueError):
            return None


def passed_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_NAMES or name.startswith(PASSED_PREFIXES)
    }


def write_list(path: Path, items: list[str]) -> None:
    path.write_bytes(b"".join(os.fsencode(item) + b"\0" for item in items))
