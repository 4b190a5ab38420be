"""Arguments that several commands take, in the same words everywhere."""

from __future__ import annotations

import argparse


def add_system(parser: argparse.ArgumentParser) -> None:
    """The system to work on, ``default`` unless another is named."""
    parser.add_argument(
        "system",
        nargs="?",
        default="default",
        help="a system description: a .toml file or a name in images/systems (default: default)",
    )


def add_weak(parser: argparse.ArgumentParser) -> None:
    """Permission to run with less isolation than all."""
    parser.add_argument(
        "--allow-weak-isolation",
        action="store_true",
        help="go on where this host lacks a layer of isolation",
    )


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
