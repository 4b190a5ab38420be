"""The command line as a person meets it, and what it generates."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from tools import abi, cli, new
from tools.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
_PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def test_generated_files_are_up_to_date() -> None:
    assert abi.run(argparse.Namespace(check=True)) == 0


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tools.cli", name, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown


def test_an_unknown_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bot"]) == 2
    assert "there is no command 'bot'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kernel", "/no/such"], "the kernel /no/such does not exist"),
        (["--kernel", "/"], "/ is not a file"),
        (["--kernel", "/bin/sh", "--initrd", "/no"], "the initial RAM disk /no does not exist"),
        (["--kernel", "/bin/sh", "--disk", "/no:ro"], "the disk /no does not exist"),
        (["--kernel", "/bin/sh", "--memory", "lots"], "'lots' is not a size"),
    ],
)
def test_boot_names_what_is_wrong(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["boot", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_new_server_passes_its_own_test(tmp_path: Path) -> None:
    for package in ("servers", "kernel", "tools", "images", "drivers"):
        (tmp_path / package).mkdir()
    files = new.create("greeter", ROOT_COPY := tmp_path / "tree")
    for package in ("servers", "kernel", "tools", "images", "drivers"):
        for source in (ROOT / package).rglob("*"):
            if source.suffix in (".py", ".toml"):
                target = ROOT_COPY / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    test = next(path for path in files if path.name.startswith("test_"))
    done = subprocess.run(
        [*_PYTEST, "--rootdir", ".", str(test)],
        cwd=ROOT_COPY,
        env={"PYTHONPATH": str(ROOT_COPY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_new_server_never_replaces_files(tmp_path: Path) -> None:
    new.create("greeter", tmp_path)
    with pytest.raises(UserError, match="exists already"):
        new.create("greeter", tmp_path)


@pytest.mark.parametrize("name", ["Greeter", "1st", "a-b", "", "../x"])
def test_a_new_server_needs_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a name"):
        new.create(name, tmp_path)
    assert not list(tmp_path.iterdir())
