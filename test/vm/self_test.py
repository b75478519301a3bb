"""What test/vm/run promises, tried on a real guest: VM_SELF_TEST_KERNEL, else uml."""

import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

RUN = Path(__file__).resolve().parent / "run"
KERNEL = os.environ.get("VM_SELF_TEST_KERNEL", "uml")
# An emulated processor needs a minute for what User-Mode Linux does in a second.
LIMIT_S = 60 if KERNEL == "uml" else 240
HANG_LIMIT_S = 15 if KERNEL == "uml" else 90
HOST_LIMIT_S = 800

# A write to a frozen file system waits, uninterruptibly, for ever.
BLOCK_A_TASK = """
truncate -s 16M /tmp/image && mkfs.ext4 -q /tmp/image && mkdir /tmp/frozen && mount -o loop /tmp/image /tmp/frozen
fsfreeze --freeze /tmp/frozen
touch /tmp/frozen/blocked &
"""


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [RUN, "--kernel", KERNEL, *arguments],
        capture_output=True, text=True, timeout=HOST_LIMIT_S, env={**os.environ, **(environment or {})},
    )


def shell(script: str, *options: str, **keywords) -> subprocess.CompletedProcess:
    return run("--timeout", str(LIMIT_S), *options, "--", "bash", "-c", script, **keywords)


class RunTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)

    def test_exit_code_and_both_streams_are_carried(self):
        result = shell("echo out; echo err >&2; exit 3")
        self.assertEqual((result.returncode, result.stdout), (3, "out\nerr\n"), result.stderr)

    def test_arguments_and_environment_arrive_unchanged(self):
        result = run("--", "env", "--", "printf", "%s|", "a b", "", "$x", "'", "ü\n")
        self.assertEqual(result.stdout, "a b||$x|'|ü\n|", result.stderr)
        result = shell("echo $UBLK_A-$VM_B-$SECRET-$VM_KERNEL; pwd",
                       environment={"UBLK_A": "a", "VM_B": "b", "SECRET": "s"})
        self.assertEqual(result.stdout, f"a-b--{KERNEL}\n{os.getcwd()}\n", result.stderr)

    def test_long_output_is_complete(self):
        result = shell("seq 200000")
        self.assertEqual(result.stdout, "".join(f"{n}\n" for n in range(1, 200001)), result.stderr)

    def test_output_is_streamed(self):
        command = [RUN, "--kernel", KERNEL, "--", "sh", "-c", "echo first; until [ -e /tmp/never ]; do sleep 1; done"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            self.assertEqual(process.stdout.readline(), "first\n")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(HOST_LIMIT_S), 128 + signal.SIGTERM)

    def test_files_come_back_through_out_and_nothing_else_does(self):
        outside = self.directory / "outside"
        outside.mkdir()
        out = self.directory / "out"
        script = f"echo kept > {out}/kept && mkdir -p {outside} && echo gone > {outside}/gone && echo gone > /root/gone.$$"
        result = shell(script + "; ls /root/gone.$$", "--out", str(out))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual((out / "kept").read_text(), "kept\n")
        self.assertEqual(list(outside.iterdir()), [])
        self.assertFalse(Path(result.stdout.strip()).exists())

    def test_ublk_and_the_other_block_drivers_are_there(self):
        script = """
          ls /dev/ublk-control && modprobe -qa loop null_blk brd 2> /dev/null
          ls /dev/loop-control && ls /sys/block/nullb0/size && ls /sys/block/ram0/size"""
        result = shell(script)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_disks_are_there_and_empty(self):
        script = 'for disk in "$VM_DISK0" "$VM_DISK1"; do blockdev --getsize64 $disk; cmp -n 1048576 $disk /dev/zero; done'
        result = shell(script, "--disk", "64", "--disk", "32")
        self.assertEqual((result.returncode, result.stdout), (0, f"{64 << 20}\n{32 << 20}\n"), result.stderr)

    def test_kept_disks_have_what_the_last_run_wrote(self):
        disks = ("--disk", "32", "--keep-disks", str(self.directory / "disks"))
        result = shell("echo written | dd of=$VM_DISK0 conv=fsync", *disks)
        self.assertEqual(result.returncode, 0, result.stderr)
        result = shell("head -n 1 $VM_DISK0; blockdev --getsize64 $VM_DISK0", *disks)
        self.assertEqual((result.returncode, result.stdout), (0, f"written\n{32 << 20}\n"), result.stderr)

    def test_udev_runs_only_when_asked_for(self):
        for options, expected in (((), ""), (("--udev",), "systemd-udevd")):
            result = shell("cat /proc/[0-9]*/comm | grep udevd | sort -u", *options)
            self.assertEqual(result.stdout.strip()[:13], expected, result.stderr)

    def test_a_time_limit_shows_the_blocked_task(self):
        begin = time.monotonic()
        result = run("--timeout", str(HANG_LIMIT_S), "--", "bash", "-c", BLOCK_A_TASK + "wait")
        self.assertEqual(result.returncode, 124, result.stderr)
        self.assertLess(time.monotonic() - begin, HOST_LIMIT_S)
        self.assertRegex(result.stdout, r"\nD \d+ touch\n")
        self.assertRegex(result.stdout, r"(?s)stacks of blocked tasks.*task:touch .*state:D.*percpu_rwsem_wait")

    def test_a_hung_task_fails_the_run(self):
        script = BLOCK_A_TASK + """
          echo 1 > /proc/sys/kernel/hung_task_check_interval_secs; echo 1 > /proc/sys/kernel/hung_task_timeout_secs
          until dmesg | grep -q 'blocked for more than'; do sleep 0.2; done"""
        result = shell(script)
        self.assertEqual(result.returncode, 97, result.stdout + result.stderr)
        self.assertRegex(result.stderr, "kernel defect: .*task touch:.* blocked for more than")

    def test_a_kernel_warning_fails_a_run_that_passed(self):
        result = shell("echo 'WARNING: CPU: 0 PID: 1 at block/blk-mq.c:1 made_up+0x1/0x2' > /dev/kmsg; echo fine")
        self.assertEqual((result.returncode, result.stdout), (97, "fine\n"), result.stderr)
        self.assertIn("made_up", result.stderr)

    @unittest.skipUnless(KERNEL == "uml", "Debian's kernels are built without LKDTM")
    def test_a_real_warning_and_a_real_fault_fail_the_run(self):
        for fault, expected in (("WARNING", "WARNING: .*lkdtm"), ("EXCEPTION", "panic .*Kernel mode fault")):
            with self.subTest(fault=fault):
                result = shell(f"echo {fault} > /sys/kernel/debug/provoke-crash/DIRECT")
                self.assertEqual(result.returncode, 97, result.stderr)
                self.assertRegex(result.stderr, f"kernel defect: .*{expected}")

    def test_an_injected_io_error_does_not_fail_the_run(self):
        result = shell("echo 'Buffer I/O error on dev ublkb0, logical block 0, async page read' > /dev/kmsg")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_guest_that_ends_early_is_no_success(self):
        result = shell("busybox poweroff -n -f; sleep 60")
        self.assertEqual(result.returncode, 98, result.stderr)

    def test_bad_options_are_refused(self):
        for options in (["--kernel", "5.4", "--", "true"], ["--timeout", "0", "--", "true"], ["--"]):
            result = subprocess.run([RUN, *options], capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, result.stderr)


if __name__ == "__main__":
    unittest.main()
