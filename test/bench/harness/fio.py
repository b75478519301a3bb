"""One measurement: fio for a moment on one device."""

import json
from pathlib import Path

from .devices import Device
from .plan import IMAGE_BYTES, Workload
from .processes import CommandError, copy_program, run_command
from .usage import read_usage

RAMP_S = 0.02


def install_fio() -> list[str]:
    return copy_program("fio", Path("/run/bench/fio"))


def measure(fio: list[str], device: Device, workload: Workload, seconds: float) -> dict:
    before = read_usage(device)
    job = json.loads(run_command(*fio, *fio_arguments(device, workload, seconds)))["jobs"][0]
    used = read_usage(device).since(before)
    side = job["write" if "write" in workload.operation else "read"]
    if job["error"] != 0 or side["iops"] == 0:
        raise CommandError(f"fio on {device.name} {workload.label}: error {job['error']}, {side['iops']} IOPS")
    requests = max(used.requests, 1)
    return {
        "device": device.name,
        "workload": workload.label,
        "iops": round(side["iops"], 1),
        "mib_per_s": round(side["bw_bytes"] / (1 << 20), 2),
        "guest_switches_per_io": round(used.guest_switches / requests, 3),
        **({} if device.server is None else {
            "server_us_per_io": round(used.server_ns / 1000 / requests, 2),
            "server_switches_per_io": round(used.server_switches / requests, 3),
        }),
    }


def fio_arguments(device: Device, workload: Workload, seconds: float) -> list[str]:
    return [
        "--name=bench", f"--filename={device.path}", f"--size={IMAGE_BYTES}", "--direct=1",
        "--ioengine=io_uring", f"--rw={workload.operation}", f"--bs={workload.block_bytes}",
        f"--iodepth={workload.depth}", "--norandommap", "--randrepeat=1", "--time_based",
        f"--runtime={round(seconds * 1000)}ms", f"--ramp_time={round(RAMP_S * 1000)}ms",
        # Clock reads are most of fio's own work in an emulated guest.
        "--gtod_reduce=1", "--thread", "--output-format=json",
    ]
