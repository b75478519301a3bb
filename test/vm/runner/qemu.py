"""The QEMU guest: one of Debian's kernels, with KVM where that works and in software elsewhere."""

import subprocess
import sys
from pathlib import Path

from .exchange import Exchange
from .options import CACHE, REPOSITORY, Options

# The number of the serial device depends on the order in which its driver finds things.
OUTPUT_PORT = "/dev/vport?p1"
KVM_BOOT_LIMIT_S = 60
TCG_BOOT_LIMIT_S = 300
GRACE_S = 60
KVM_PROBE_LIMIT_S = 20
KVM = ["-accel", "kvm", "-cpu", "host"]
# Without erms the kernel copies memory with ordinary moves, several times faster here: an emulated string instruction
# works, and counts, byte by byte.
EMULATED_CPU = ["-cpu", "max,-erms"]
TCG = ["-accel", "tcg,thread=multi", *EMULATED_CPU]
# Each instruction takes 1 ns, on all processors together.
INSTRUCTION_CLOCK = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on", *EMULATED_CPU]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class QemuGuest:
    grace_s = GRACE_S

    def __init__(self, options: Options, exchange: Exchange):
        self.options = options
        self.exchange = exchange
        self.kernel_dir = CACHE / "kernels" / options.kernel
        self.kvm = not options.instruction_clock and kvm_works(self.kernel_dir)
        self.boot_limit_s = KVM_BOOT_LIMIT_S if self.kvm else TCG_BOOT_LIMIT_S
        clock = ", instruction clock" if options.instruction_clock else ""
        self.name = f"{options.kernel} ({'KVM' if self.kvm else 'TCG'}{clock})"

    def prepare(self) -> None:
        devices = [f"/dev/vd{chr(ord('a') + index)}" for index in range(len(self.exchange.disks))]
        modules = str((self.kernel_dir / "modules").resolve())
        self.exchange.write(devices, {"share_type": "9p", "output_port": OUTPUT_PORT, "modules": modules})

    def arguments(self, log_fd: int, output_fd: int) -> list[str]:
        return [
            *machine(self.kernel_dir, self._accelerator()),
            "-smp", str(self.options.cpus),
            "-m", f"{self.options.memory_mb}M",
            # QEMU opens a character device's path anew: the descriptor's path is that of the pipe.
            "-chardev", f"file,id=log,path=/dev/fd/{log_fd}", "-serial", "chardev:log",
            "-chardev", f"file,id=output,path=/dev/fd/{output_fd}",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=output,name=output",
            *share("root", Path("/"), "on"),
            *share("exchange", self.exchange.path, "off"),
            *(share("out", self.options.out, "off") if self.options.out else []),
            *self._disks(),
            "-append", " ".join(self._kernel_parameters()),
        ]

    def _accelerator(self) -> list[str]:
        if not self.options.instruction_clock:
            return KVM if self.kvm else TCG
        return INSTRUCTION_CLOCK

    def _disks(self) -> list[str]:
        arguments = []
        for index, path in enumerate(self.exchange.disks):
            arguments += ["-drive", f"file={path},id=disk{index},format=raw,if=none,cache=unsafe,discard=unmap"]
            arguments += ["-device", f"virtio-blk-pci,drive=disk{index}"]
        return arguments

    def _kernel_parameters(self) -> list[str]:
        return [
            "console=ttyS0", "loglevel=6", "panic=-1", "mitigations=off", "tsc=reliable", "no_timer_check",
            f"vm_init={REPOSITORY}/test/vm/guest/init",
            f"vm_exchange={self.exchange.path}",
        ]


def machine(kernel_dir: Path, accelerator: list[str]) -> list[str]:
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35",
        *accelerator,
        "-device", "virtio-rng-pci",
        "-kernel", str((kernel_dir / "vmlinuz").resolve()), "-initrd", str(kernel_dir / "initramfs"),
    ]


def share(tag: str, path: Path, read_only: str) -> list[str]:
    """A directory for the guest. `multidevs` keeps inode numbers apart when it spans several file systems."""
    return ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly={read_only},multidevs=remap"]


def kvm_works(kernel_dir: Path) -> bool:
    """Some machines have /dev/kvm and cannot boot a stock kernel with it, so boot one as far as its first program.

    Remembered until the host is booted again.
    """
    answer = CACHE / "vm" / f"kvm-{BOOT_ID.read_text().strip()}"
    if not answer.exists():
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text("yes" if Path("/dev/kvm").exists() and probe_kvm(kernel_dir) else "no")
    return answer.read_text() == "yes"


def probe_kvm(kernel_dir: Path) -> bool:
    print("vm: looking whether KVM works here", file=sys.stderr, flush=True)
    arguments = [*machine(kernel_dir, KVM), "-m", "512M", "-serial", "stdio", "-append", "console=ttyS0 vm_probe=1"]
    try:
        probe = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=KVM_PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        return False
    return b"vm-probe: alive" in probe.stdout
