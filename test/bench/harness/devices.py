"""Brings the measured block devices up. All of them exist from the first round on; an idle one costs nothing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .plan import IMAGE_BYTES, MAX_IO_BYTES, MIB, QUEUE_DEPTH, QUEUES
from .processes import Server, run_command, wait_for

HERE = Path(__file__).resolve().parents[1]
REPOSITORY = HERE.parents[1]
RUBLK = REPOSITORY / ".cache/tools/bin/rublk"
FILE_SYSTEM = Path("/run/bench/xfs")
LOGS = Path("/run/bench/logs")
# One for each device over a file: two devices may not write to one image.
IMAGES = ("loop", "rublk-loop", "file", "file-copy", "file-user-copy", "file-batch")
RUBLK_FIRST_ID = 40


@dataclass(frozen=True)
class Device:
    name: str
    path: str
    server: Server | None
    settings: str

    @property
    def kernel_name(self) -> str:
        return os.path.basename(self.path)


def make_disk(kind: str) -> str:
    """The disk that carries the xfs: memory, so that only software is measured, or a real (virtual) disk."""
    if kind == "virtio":
        return os.environ["VM_DISK0"]
    size_kib = (len(IMAGES) + 1) * IMAGE_BYTES // 1024
    load_module("brd", "rd_nr=1", f"rd_size={size_kib}")
    return "/dev/ram0"


def load_module(name: str, *settings: str) -> None:
    """Kernels without modules have it built in; then its settings come from the kernel's defaults."""
    if Path(f"/lib/modules/{os.uname().release}").exists():
        run_command("modprobe", name, *settings)


def make_images(disk: str) -> None:
    FILE_SYSTEM.mkdir(parents=True)
    LOGS.mkdir()
    run_command("mkfs.xfs", "-q", "-f", disk)
    run_command("mount", disk, FILE_SYSTEM)
    for name in IMAGES:
        run_command("dd", "if=/dev/zero", f"of={image_path(name)}", "bs=1M", f"count={IMAGE_BYTES // MIB}",
                    "oflag=direct", "conv=fsync")


def image_path(name: str) -> Path:
    return FILE_SYSTEM / f"{name}.img"


def make_null_blk() -> Device:
    load_module("null_blk", "nr_devices=1", f"submit_queues={QUEUES}", f"hw_queue_depth={QUEUE_DEPTH}")
    return Device("null_blk", "/dev/nullb0", None, f"{QUEUES} queue, depth {QUEUE_DEPTH}, softirq completion")


def make_loop() -> Device:
    load_module("loop")
    path = run_command("losetup", "--direct-io=on", "--show", "-f", image_path("loop")).strip()
    direct = Path(f"/sys/block/{os.path.basename(path)}/loop/dio").read_text().strip()
    if direct != "1":
        raise RuntimeError(f"{path} does not use direct I/O")
    return Device("loop", path, None, "direct I/O, kernel defaults")


def serve_ours(name: str, target: dict, **special: object) -> Device:
    options = {"queueCount": QUEUES, "queueDepth": QUEUE_DEPTH, "maxIoBytes": MAX_IO_BYTES, **special}
    params = {"target": target, "sizeBytes": IMAGE_BYTES}
    server = Server(["node", str(HERE / "serve.js"), json.dumps(params), json.dumps(options)], LOGS / name)
    answer = server.wait_for_json_line()
    return Device(name, answer.pop("path"), server, json.dumps(answer))


def serve_file(name: str, **special: object) -> Device:
    return serve_ours(name, {"kind": "file", "path": str(image_path(name))}, **special)


def serve_rublk(name: str, *arguments: str) -> Device:
    number = RUBLK_FIRST_ID + len(list(Path("/sys/block").glob("ublkb4*")))
    words = [*arguments, "-n", str(number), "-q", str(QUEUES), "-d", str(QUEUE_DEPTH), "-b", str(MAX_IO_BYTES),
             "--foreground", "--quiet"]
    server = Server([str(RUBLK), "add", *words], LOGS / name)
    path = f"/dev/ublkb{number}"

    def serves() -> bool | None:
        server.assert_alive()
        return Path(path).is_block_device() or None

    wait_for(path, serves)
    return Device(name, path, server, f"rublk add {' '.join(words)}")


def set_scheduler(device: Device) -> None:
    """The drivers' defaults differ (mq-deadline for ublk, none for loop); the scheduler is not what is measured."""
    scheduler = Path(f"/sys/block/{device.kernel_name}/queue/scheduler")

    def write() -> bool | None:
        try:
            scheduler.write_text("none")
        except FileNotFoundError:
            # The device node appears a moment before its queue is registered.
            return None
        return True

    wait_for(str(scheduler), write)


MAKERS = {
    "null_blk": make_null_blk,
    "null": lambda: serve_ours("null", {"kind": "null"}),
    "rublk-null": lambda: serve_rublk("rublk-null", "null"),
    "loop": make_loop,
    "file": lambda: serve_file("file"),
    "file-copy": lambda: serve_file("file-copy", dataMode="copy"),
    "file-user-copy": lambda: serve_file("file-user-copy", dataMode="user-copy"),
    "file-batch": lambda: serve_file("file-batch", batch="on", allowBrokenKernel=True),
    "memory": lambda: serve_ours("memory", {"kind": "memory"}),
    "memory-copy": lambda: serve_ours("memory-copy", {"kind": "memory"}, dataMode="copy"),
    "rublk-loop": lambda: serve_rublk("rublk-loop", "loop", "-f", str(image_path("rublk-loop"))),
}


def make_device(name: str) -> Device:
    device = MAKERS[name]()
    set_scheduler(device)
    return device
