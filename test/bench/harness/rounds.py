"""The guest's part from the first device to the last figure."""

import json
import os
import sys
import time
from pathlib import Path

from .devices import Device, make_device, make_disk, make_images
from .fio import install_fio, measure
from .options import GuestOptions
from .plan import WORKLOADS
from .processes import CommandError


def measure_rounds(options: GuestOptions) -> int:
    devices: list[Device] = []
    try:
        fio = install_fio()
        make_images(make_disk(options.disk))
        for name in options.devices:
            devices.append(make_device(name))
            say(f"{devices[-1].path} is {name}: {devices[-1].settings}")
        write_json(options.out / "guest.json", describe_guest(options, devices))
        # A server that has just started still compiles and collects garbage beside its first requests.
        measure_in_turn(options, fio, devices, options.workloads[:1])
        for number in range(options.rounds):
            measure_round(options, fio, devices, number)
        return 0
    except CommandError as error:
        say(str(error))
        return 1
    finally:
        for device in devices:
            if device.server is not None:
                device.server.end()


def measure_round(options: GuestOptions, fio: list[str], devices: list[Device], number: int) -> None:
    """All workloads on all devices. Which device comes first changes with every round."""
    Path("/proc/sys/vm/drop_caches").write_text("3")
    begin = time.monotonic()
    shift = number % len(devices)
    cells = measure_in_turn(options, fio, devices[shift:] + devices[:shift], options.workloads)
    write_json(options.out / f"round-{number}.json", {"round": number, "cells": cells})
    say(f"round {number + 1} of {options.rounds}: {time.monotonic() - begin:.0f} s of guest time")


def measure_in_turn(options: GuestOptions, fio: list[str], devices: list[Device], workloads: list[str]) -> list[dict]:
    """One device after the other, all others idle."""
    return [measure(fio, device, WORKLOADS[name], options.seconds) for name in workloads for device in devices]


def describe_guest(options: GuestOptions, devices: list[Device]) -> dict:
    return {
        "kernel_release": os.uname().release,
        "cpus": os.cpu_count(),
        "disk": options.disk,
        "seconds": options.seconds,
        "devices": {device.name: device.settings for device in devices},
    }


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def say(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr, flush=True)
