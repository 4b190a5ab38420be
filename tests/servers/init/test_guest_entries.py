"""What a description says of guests: what they start from."""

from __future__ import annotations

from typing import Any

import pytest

from servers.init.description import (
    DescriptionError,
    decode,
)
from servers.init.planning import (
    BIOS,
    LINUX_ROM,
    VIDEO_BIOS,
    expand,
)


def parts(**guest: Any) -> dict[str, str]:
    """The files that a guest's VMM holds, by what they are to it."""
    table = {"name": "s", "vm": [{"name": "v", "engine": "soft", **guest}]}
    processes, devices = expand(decode(table))
    held = next(process for process in processes if process.name == "v").holds
    files = {f"device:{device.name}": device.file for device in devices}
    return {
        hold.partition("=")[0]: files[hold.partition("=")[2]] for hold in held if "device:" in hold
    }


def test_a_kernel_or_a_bios_or_both() -> None:
    assert parts(kernel="k", initrd="i") == {"kernel": "k", "initrd": "i"}
    assert parts(bios=True) == {"bios": BIOS}
    assert parts(bios=True, display=True) == {"bios": BIOS, "video-bios": VIDEO_BIOS}
    assert parts(bios=True, kernel="k") == {"kernel": "k", "bios": BIOS, "linux-rom": LINUX_ROM}


def test_a_log_is_written_in_order() -> None:
    table = {"name": "s", "vm": [{"name": "v", "bios": True, "bios_log": "/tmp/log"}]}
    _, devices = expand(decode(table))
    (log,) = (device for device in devices if device.name == "v.bios-log")
    assert log.writable and log.stream


@pytest.mark.parametrize(
    ("guest", "sentence"),
    [
        ({}, "kernel: a guest has a kernel, or bios = true"),
        ({"bios": True, "initrd": "i"}, "initrd: it goes with a kernel"),
        ({"kernel": "k", "bios_menu": True}, "bios_menu, bios_log: they go with bios = true"),
    ],
)
def test_what_does_not_fit_is_named(guest: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DescriptionError, match=r'\[\[vm\]\] "v" ' + sentence):
        parts(**guest)
