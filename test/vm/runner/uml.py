"""The User-Mode Linux guest: kernel 7.3 as an ordinary process, no virtualisation."""

from .exchange import Exchange
from .options import CACHE, REPOSITORY, Options

OUTPUT_PORT = "/dev/tty1"
BOOT_LIMIT_S = 60
GRACE_S = 20


class UmlGuest:
    boot_limit_s = BOOT_LIMIT_S
    grace_s = GRACE_S
    name = "uml"

    def __init__(self, options: Options, exchange: Exchange):
        self.options = options
        self.exchange = exchange

    def prepare(self) -> None:
        devices = [f"/dev/ubd{chr(ord('a') + index)}" for index in range(len(self.exchange.disks))]
        self.exchange.write(devices, {"share_type": "hostfs", "output_port": OUTPUT_PORT, "modules": ""})

    def arguments(self, log_fd: int, output_fd: int) -> list[str]:
        disks = [f"ubd{index}={path}" for index, path in enumerate(self.exchange.disks)]
        return [
            str(CACHE / "kernels/uml/linux"),
            f"mem={self.options.memory_mb}M",
            f"ncpus={self.options.cpus}",
            "seccomp=on",  # the only mode that works with more than one processor
            f"uml_dir={self.exchange.path}/uml",
            "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
            "con=null", f"con0=null,fd:{log_fd}", f"con1=null,fd:{output_fd}",
            "loglevel=7", "printk.time=1",
            *disks,
            f"init={REPOSITORY}/test/vm/guest/init",
            f"vm_exchange={self.exchange.path}",
        ]
