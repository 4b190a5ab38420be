"""Disks on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.store.header import empty, parse
from tools.disks import Wanted, expand, parse_disk
from tools.errors import UserError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.img", Wanted("a.img")),
        ("a.img:ro", Wanted("a.img", writable=False)),
        ("a:b.img:ide:ro", Wanted("a:b.img", False, "ide")),
        ("a:ahci:raw", Wanted("a", True, "ahci", "raw")),
        ("a:overlay=b:qcow2", Wanted("a", format="qcow2", overlay="b")),
        ("a:rot", Wanted("a:rot")),
    ],
)
def test_options(text: str, wanted: Wanted) -> None:
    assert parse_disk(text) == wanted


@pytest.mark.parametrize("text", ["", ":ro", "a:ro:overlay=b"])
def test_bad_options(text: str) -> None:
    with pytest.raises(UserError, match="--disk"):
        parse_disk(text)


def test_a_raw_disk_is_a_driver(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(512))
    parts = expand([Wanted(str(tmp_path / "a"), interface="ide")])
    assert [process.program for process in parts.processes] == ["drivers.block"]
    assert parts.disks[0].source == "block0"
    assert parts.disks[0].interface == "ide"


def test_a_chain_of_images_is_a_chain_of_stores(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(1 << 20))
    (tmp_path / "middle").write_bytes(empty(1 << 20, "base", "raw"))
    top = tmp_path / "top"
    parts = expand([Wanted(str(tmp_path / "middle"), overlay=str(top))])
    header = parse(top.read_bytes())
    assert (header.backing, header.backing_format) == (str(tmp_path / "middle"), "qcow2")
    holds = {process.name: process.holds for process in parts.processes}
    assert parts.disks[0].source == "store0"
    assert holds["store0"] == ["image=block0", "backing=store0-base"]
    assert holds["store0-base"] == ["image=block0-base", "backing=block0-base-base"]
    writable = {device.name: device.writable for device in parts.devices}
    assert writable == {"disk0": True, "disk0-base": False, "disk0-base-base": False}


def test_a_chain_that_bites_its_tail(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(empty(1 << 20, "a", "qcow2"))
    with pytest.raises(UserError, match="more than 16 backing files"):
        expand([Wanted(str(tmp_path / "a"))])


def test_an_overlay_of_something_else(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(512))
    over = str(tmp_path / "over")
    expand([Wanted(str(tmp_path / "a"), overlay=over)])
    with pytest.raises(UserError, match="is not one of"):
        expand([Wanted(str(tmp_path / "b"), overlay=over)])
