"""``cloister doctor``: what it looks at, and how it says so."""

from __future__ import annotations

import argparse
import errno
import fcntl
import importlib.util
import json
import os
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tools import cli, doctor
from tools.isolation import layers

ROOT = Path(__file__).resolve().parents[2]


def test_it_knows_the_packages_that_cloister_needs() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    assert tuple(text.partition(">")[0].partition("=")[0] for text in wanted) == doctor.PACKAGES


def test_what_is_missing_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    lacking = layers.Layer("user namespace", False, "a process keeps the user's rights")
    monkeypatch.setattr(layers, "layers", lambda: [lacking])
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CLOISTER_CACHE", str(tmp_path))
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["missing", "msgpack"] in [line[:2] for line in lines]
    assert ["optional", "QEMU"] in [line[:2] for line in lines]
    assert ["optional", "linux"] in [line[:2] for line in lines]
    assert "allow user namespaces" in shown.out
    assert "apt install qemu-system-x86" in shown.out
    assert "cloister images fetch linux" in shown.out
    assert shown.err.startswith("cloister: this host lacks capstone, ")


def test_every_check_that_is_not_ok_of_a_required_thing_has_advice() -> None:
    for check in doctor.gather():
        assert check.found
        assert check.status != "missing" or check.advice


def test_machines_read_what_people_read(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    checks = [doctor.Check(**check) for check in json.loads(capsys.readouterr().out)]
    assert checks == doctor.gather()
    assert status == (1 if any(check.status == "missing" for check in checks) else 0)


LAYERS = (
    ("user namespace", "user.max_user_namespaces"),
    ("thread limit", "run as an ordinary user"),
    ("Landlock", "lsm="),
    ("seccomp", "apt install libseccomp2"),
)


@pytest.mark.parametrize(("name", "advice"), LAYERS)
def test_each_layer_has_its_advice(name: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "layers", lambda: [layers.Layer(name, False, "without it")])
    check = next(check for check in doctor.gather() if check.name == name)
    assert (check.status, check.found) == ("missing", "without it")
    assert advice in check.advice
    assert check.advice.endswith("or use --allow-weak-isolation")


def test_every_layer_of_the_sandbox_is_looked_at() -> None:
    names = {check.name for check in doctor.gather() if check.group == "Isolation"}
    assert names == {layer.name for layer in layers.layers()}


def test_other_systems_are_sent_to_the_sim_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(layers, "layers", lambda: pytest.fail("it is for Linux alone"))
    checks = {check.name: check for check in doctor.gather()}
    assert checks["Linux"].status == "missing"
    assert "--machine sim" in checks["Linux"].advice
    assert "pyseccomp" not in checks


@pytest.mark.parametrize(
    ("number", "found", "advice"),
    [
        (errno.ENOENT, "none", ""),
        (errno.EACCES, "this user may not open it", "become a member of its group"),
        (errno.ENODEV, "No such device", ""),
    ],
)
def test_kvm_that_does_not_answer_is_not_missed(
    number: int, found: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    check = doctor._kvm()
    assert check.status == "optional"
    assert check.found.startswith(found)
    assert check.advice.startswith(advice)


def test_kvm_is_asked_and_not_only_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda path, flags: os.dup(0))
    monkeypatch.setattr(fcntl, "ioctl", lambda descriptor, request: 12)
    assert doctor._kvm() == doctor.Check(
        "Linux", "/dev/kvm", "ok", "it answers, interface version 12"
    )


@pytest.mark.parametrize(
    ("script", "found"),
    [("echo gdb 1; echo more", "gdb 1"), ("exit 1", "PATH"), ("printf '\\377'", "\ufffd")],
)
def test_a_program_says_its_version(
    script: str, found: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "gdb"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = next(check for check in doctor.gather() if check.name == "gdb")
    assert check == doctor.Check("Programs", "gdb", "ok", str(path) if found == "PATH" else found)


def test_without_rich_a_person_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = doctor.Check("Python", "rich", "missing", "not installed", "install it")
    monkeypatch.setattr(doctor, "gather", lambda: [lacking])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.run(argparse.Namespace(json=False)) == 1
    assert capsys.readouterr().out == "missing   rich  not installed; install it\n"


def test_a_person_gets_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [
        doctor.Check("Linux", "memfd", "ok", "there"),
        doctor.Check("Programs", "QEMU", "optional", "not [installed]", "apt install it"),
    ]
    monkeypatch.setattr(doctor, "gather", lambda: checks)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["doctor"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    rows = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert rows[1] == "Linux memfd ok there"
    assert rows[2] == "Programs QEMU optional not [installed] apt install it"
