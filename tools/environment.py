"""Makes the virtual environment that ``./cloister`` runs in; with the standard library alone."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager

from tools.launch import Checkout

_MARK = "made-by-cloister"
"""A file in the environment; a ``.venv`` without it is somebody's own and is left alone."""
_OFFLINE = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "Network is unreachable",
    "Failed to establish a new connection",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
)


class EnvironmentFailure(Exception):
    """The environment could not be made; one sentence that says why and what to do."""


def prepare(checkout: Checkout, extra: str) -> None:
    """Make the environment, or bring it up to date; of several processes one does it.

    What is half made when this fails is removed; what was there before is left as it was.
    """
    with _lock(checkout.root):
        if checkout.ready(extra):
            return
        progress = Progress()
        if checkout.found().startswith("dev\n"):
            extra = "dev"
        fresh = not checkout.fits()
        try:
            if fresh:
                _create(checkout, progress)
            _install(checkout, extra, progress)
            _write(checkout.stamp, checkout.expected(extra))
        except BaseException as error:
            if fresh and _ours(checkout):
                shutil.rmtree(checkout.venv, ignore_errors=True)
            if isinstance(error, OSError):
                raise EnvironmentFailure(f"cannot write {checkout.venv}: {error}") from None
            raise
        finally:
            progress.end()


class Progress:
    """What is being done: one line that changes if a person is there, else only the first one."""

    def __init__(self) -> None:
        self._person = sys.stderr.isatty()
        self._said = False

    def say(self, text: str) -> None:
        """Show a step."""
        line = f"cloister: preparing .venv, once: {text}"
        if self._person:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{line[:width]}")
        elif not self._said:
            sys.stderr.write("cloister: preparing its environment in .venv, once\n")
        sys.stderr.flush()
        self._said = True

    def end(self) -> None:
        """Leave the line as it was before."""
        if self._person and self._said:
            sys.stderr.write("\r\x1b[K")


@contextmanager
def _lock(folder: str) -> Iterator[None]:
    """Be alone; the folder itself is the lock, and a process that ends gives it back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("cloister: another one is preparing .venv; waiting for it", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _mark(checkout: Checkout) -> str:
    return os.path.join(checkout.venv, _MARK)


def _ours(checkout: Checkout) -> bool:
    """Whether the environment that is there may be removed."""
    return os.path.exists(_mark(checkout)) or os.path.exists(checkout.stamp)


def _create(checkout: Checkout, progress: Progress) -> None:
    """An empty environment in place of one that is missing, stale or half made."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise EnvironmentFailure(
            "this Python cannot make virtual environments; on Debian: apt install python3-venv"
        )
    base: str = getattr(sys, "_base_executable", sys.executable)
    if base.startswith(checkout.venv + os.sep):
        base = os.path.realpath(base)  # the environment is damaged: its Python does not know it
    progress.say("creating it")
    if os.path.isdir(checkout.venv) and os.listdir(checkout.venv):
        if not _ours(checkout):
            raise EnvironmentFailure(
                f"{checkout.venv} was not made by ./cloister; move it away, or use it yourself: "
                "python -m tools.cli"
            )
        shutil.rmtree(checkout.venv)
    os.makedirs(checkout.venv, exist_ok=True)
    _write(_mark(checkout), "Made by ./cloister, which also removes it when it is out of date.\n")
    command = [base, "-I", "-m", "venv", "--symlinks", checkout.venv]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentFailure(f"python -m venv failed: {_reason(done.stdout + done.stderr)}")


def _requirements(checkout: Checkout, extra: str) -> list[str]:
    with open(os.path.join(checkout.root, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    return [*project["dependencies"], *project["optional-dependencies"].get(extra, [])]


def _install(checkout: Checkout, extra: str, progress: Progress) -> None:
    """The packages that ``pyproject.toml`` asks for."""
    requirements = _requirements(checkout, extra)
    if not requirements:
        return
    pip = [checkout.python, "-I", "-m", "pip"]
    command = [*pip, "install", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    output = []
    with subprocess.Popen(
        [*command, *requirements],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if line.startswith(("Collecting", "Installing")):
                progress.say(line.partition(" (")[0].strip().lower())
    text = "".join(output)
    if process.returncode and any(sign in text for sign in _OFFLINE):
        raise EnvironmentFailure(
            "its packages could not be downloaded; connect to the network and try again"
        )
    if process.returncode:
        raise EnvironmentFailure(f"its packages could not be installed: {_reason(text)}")
    # A hook of setuptools would cost every start a millisecond, and nothing here uses it.
    remove = [*pip, "uninstall", "--yes", "--quiet", "setuptools"]
    subprocess.run(remove, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _reason(output: str) -> str:
    """The line of a program's output that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR: ").rstrip(".")


def _write(path: str, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
