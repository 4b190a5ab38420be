"""Kernel modules: what they say of themselves, and the order in which they are loaded."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.modules import ModuleError, ModuleTree, information
from tests.images.kernel_modules import module, tree


def test_a_module_says_what_it_needs() -> None:
    assert information(module("a", "b")) == {
        "license": ["GPL"],
        "depends": ["a,b"],
        "name": ["x"],
    }


@given(st.integers(0, 400))
def test_a_module_that_is_cut_short_is_refused(length: int) -> None:
    whole = module("a")
    if length < len(whole):
        with pytest.raises(ModuleError):
            information(whole[:length])


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n" * 20, b"\x7fELF\x01\x01".ljust(64, b"\0")])
def test_what_is_no_module_is_refused(data: bytes) -> None:
    with pytest.raises(ModuleError):
        information(data)


def test_each_comes_once_and_after_what_it_needs(tmp_path: Path) -> None:
    needs = {"virtio": ["ring"], "ring": [], "virtio-blk": ["virtio", "ring"], "net": ["virtio"]}
    order = ModuleTree(tree(tmp_path, needs)).load_order(["virtio_blk", "net", "ring"])
    assert [name for name, _ in order] == ["ring", "virtio", "virtio_blk", "net"]
    assert order[0][1] == module()


def test_what_is_built_in_is_left_out(tmp_path: Path) -> None:
    modules = ModuleTree(tree(tmp_path, {"net": ["ext4"]}, builtin=("ext4", "crc-16")))
    assert [name for name, _ in modules.load_order(["ext4", "crc_16", "net"])] == ["net"]


def test_compressed_modules_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "net.ko.xz").write_bytes(lzma.compress(module()))
    assert ModuleTree(tmp_path).load_order(["net"]) == [("net", module())]


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    modules = ModuleTree(tree(tmp_path, {"net": ["missing"]}))
    with pytest.raises(ModuleError, match="no module missing"):
        modules.load_order(["net"])


def test_a_circle_is_named(tmp_path: Path) -> None:
    modules = ModuleTree(tree(tmp_path, {"a": ["b"], "b": ["a"]}))
    with pytest.raises(ModuleError, match="a -> b -> a"):
        modules.load_order(["a"])
