"""What is measured: devices, workloads, and which device is compared with which."""

from dataclasses import dataclass

MIB = 1 << 20
QUEUES = 1
QUEUE_DEPTH = 128
MAX_IO_BYTES = 128 * 1024
IMAGE_BYTES = 256 * MIB


@dataclass(frozen=True)
class Workload:
    operation: str
    block_bytes: int
    depth: int

    @property
    def label(self) -> str:
        """As in the keys of the report, for example `randread qd32`."""
        return f"{self.operation} qd{self.depth}"


def by_name(workloads: list[Workload]) -> dict[str, Workload]:
    return {workload.label.replace(" ", "-"): workload for workload in workloads}


WORKLOADS = by_name(
    [
        Workload("randread", 4096, 1),
        Workload("randwrite", 4096, 1),
        Workload("randread", 4096, 32),
        Workload("randwrite", 4096, 32),
        Workload("read", 128 * 1024, 8),
        Workload("write", 128 * 1024, 8),
    ]
)

# Name in the report, and what it is. The order is that of the first round; later rounds rotate it.
DEVICES = {
    "null_blk": "kernel null_blk",
    "null": "our null target",
    "rublk-null": "rublk null",
    "loop": "kernel loop, --direct-io=on",
    "file": "our file target",
    "rublk-loop": "rublk loop",
    "file-copy": "our file target in the data mode copy",
    "file-user-copy": "our file target in the data mode user-copy",
    "file-batch": "our file target, commands in batches",
    "memory": "our memory target",
    "memory-copy": "our memory target in the data mode copy",
}

# What these want of the kernel beyond the oldest one: its version.
FIRST_KERNELS = {"file-batch": (7, 0)}

PAIRS = (
    ("null", "rublk-null"),
    ("null", "null_blk"),
    ("file", "loop"),
    ("file", "rublk-loop"),
    ("file", "file-copy"),
    ("file-copy", "loop"),
    ("file-user-copy", "file-copy"),
    ("file-batch", "file"),
    ("memory", "memory-copy"),
)


def devices_for(kernel: str) -> list[str]:
    """The devices that a kernel of this version can have."""
    version = tuple(int(part) for part in kernel.split(".")[:2])
    return [name for name in DEVICES if version >= FIRST_KERNELS.get(name, (0,))]
