"""Which kernel log lines fail a run and which do not."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runner.kernel_log import is_defect  # noqa: E402

DEFECTS = (
    "[   12.345678] WARNING: CPU: 1 PID: 77 at block/blk-mq.c:123 blk_mq_start_request+0x10/0x20",
    "[   12.345678] WARNING: block/blk-mq.c:123 at blk_mq_start_request+0x10/0x20, CPU#1: fio/77",
    "[   12.345678][   T77] WARNING: possible circular locking dependency detected",
    "WARNING: possible recursive locking detected",
    "<4>[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/fork.c:1",
    "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[    1.000000] BUG: sleeping function called from invalid context at lib/x.c:1",
    "[    1.000000] BUG: KASAN: slab-use-after-free in ublk_queue_rq+0x1/0x2",
    "[    1.000000] kernel BUG at fs/xfs/xfs_super.c:10!",
    "[    1.000000] Oops: Oops: 0000 [#1] SMP NOPTI",
    "[    1.000000] Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
    "[  120.000000] INFO: task fio:77 blocked for more than 60 seconds.",
    "[  120.000000] INFO: task fio:77 blocked in I/O wait for more than 60 seconds.",
    "[   60.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    "[   60.000000] rcu: INFO: rcu_preempt self-detected stall on CPU",
    "[   60.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [fio:77]",
    "[    1.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
    "[    1.000000] UBSAN: array-index-out-of-bounds in drivers/block/ublk_drv.c:1:2",
    "[    1.000000] refcount_t: underflow; use-after-free.",
    "[    1.000000] list_del corruption. prev->next should be ffff, but was 0000",
    "[    1.000000] INFO: trying to register non-static key.",
)

HARMLESS = (
    "[    1.000000] I/O error, dev ublkb0, sector 8 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
    "[    1.000000] blk_update_request: I/O error, dev ublkb0, sector 0",
    "[    1.000000] Buffer I/O error on dev ublkb0, logical block 0, lost async page write",
    "[    1.000000] EXT4-fs (ublkb0): mounted filesystem with ordered data mode. Opts: (null)",
    "[    1.000000] XFS (ublkb0): log I/O error -5",
    "[    0.000000] rcu: srcu_init: Setting srcu_struct sizes based on contention.",
    "[    0.000000] RCU Tasks Rude: Setting shift to 1 and lim to 1 rcu_task_cb_adjust=1.",
    "[    0.000000] systemd-udevd[99]: WARNING: something of its own",
    "[    0.000000] pci 0000:00:01.0: disabling ASPM: device BUG: not ours",
    "[    0.000000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
)


class IsDefectTest(unittest.TestCase):
    def test_defects_are_found(self):
        for line in DEFECTS:
            with self.subTest(line=line):
                self.assertTrue(is_defect(line))

    def test_provoked_errors_and_boot_messages_are_not(self):
        for line in HARMLESS:
            with self.subTest(line=line):
                self.assertFalse(is_defect(line))


if __name__ == "__main__":
    unittest.main()
