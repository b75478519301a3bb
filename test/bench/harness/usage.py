"""What a measurement cost: processor time of the server, context switches, requests that the disk saw."""

import re
from dataclasses import dataclass
from pathlib import Path

from .devices import Device

SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    requests: int
    server_ns: int
    server_switches: int
    guest_switches: int

    def since(self, before: "Usage") -> "Usage":
        return Usage(
            self.requests - before.requests,
            self.server_ns - before.server_ns,
            self.server_switches - before.server_switches,
            self.guest_switches - before.guest_switches,
        )


def read_usage(device: Device) -> Usage:
    tasks = [] if device.server is None else list(Path(f"/proc/{device.server.pid}/task").iterdir())
    return Usage(
        requests=read_requests(device),
        # Nanoseconds on a processor; utime and stime of stat come in ticks, too coarse for short measurements.
        server_ns=sum(int((task / "schedstat").read_text().split()[0]) for task in tasks),
        server_switches=sum(count_switches(task) for task in tasks),
        guest_switches=read_guest_switches(),
    )


def read_requests(device: Device) -> int:
    fields = Path(f"/sys/block/{device.kernel_name}/stat").read_text().split()
    return int(fields[0]) + int(fields[4])


def count_switches(task: Path) -> int:
    return sum(int(count) for count in SWITCHES.findall((task / "status").read_text()))


def read_guest_switches() -> int:
    return int(re.search(r"^ctxt (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE).group(1))
