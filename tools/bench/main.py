"""``cloister bench``: measure Cloister against its peers, in the same run on the same machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tools import render
from tools.arguments import add_weak, positive

Numbers = Mapping[str, float | None]
"""What was measured, by name."""


class Benchmark(NamedTuple):
    """One benchmark."""

    text: str
    measure: Callable[[argparse.Namespace], Numbers]
    show: Callable[[Numbers], None]
    keys: tuple[str, ...] = ()
    """What the JSON object has, where that is not all of it."""


def _ipc(args: argparse.Namespace) -> Numbers:
    from tools.bench import ipc

    calls, rounds = args.calls or ipc.CALLS, args.runs or ipc.ROUNDS
    return ipc.measure(calls, rounds, args.allow_weak_isolation)._asdict()


def _boot(args: argparse.Namespace) -> Numbers:
    from tools.bench import boot

    return boot.measure(args.runs or boot.RUNS)._asdict()


def _cpu(args: argparse.Namespace) -> Numbers:
    from tools.bench import cpu

    return cpu.measure(args.iterations or cpu.ITERATIONS, args.runs or cpu.RUNS)


def _show_ipc(numbers: Numbers) -> None:
    raw = numbers["raw_socketpair_us"] or 1.0
    rows = [
        (text, f"{numbers[key]:.2f}", f"{(numbers[key] or 0) / raw:.2f}")
        for text, key in (
            ("raw socketpair", "raw_socketpair_us"),
            ("mediated call", "mediated_call_us"),
            ("its system calls alone", "system_call_us"),
            ("direct call", "direct_call_us"),
        )
    ]
    render.table(("64 bytes there and back", "us", "times"), rows)
    print(f"\na mediated call takes {numbers['ratio']:.2f} times as long as a raw socketpair")


def _show_boot(numbers: Numbers) -> None:
    rows = [("cloister", f"{numbers['cloister_s']:.2f}")]
    peer = numbers["qemu_tcg_s"]
    rows.append(("qemu, tcg", "not installed" if peer is None else f"{peer:.2f}"))
    render.table(("Debian's kernel to its init", "seconds"), rows)
    if numbers["ratio"] is not None:
        print(f"\nCloister takes {numbers['ratio']:.2f} times as long as QEMU's TCG")


def _show_cpu(numbers: Numbers) -> None:
    render.table(("guest loop", "MIPS"), [(name, f"{mips:.0f}") for name, mips in numbers.items()])


BENCHMARKS = {
    "ipc": Benchmark(
        "a call and its reply, beside a raw socketpair",
        _ipc,
        _show_ipc,
        ("raw_socketpair_us", "mediated_call_us", "direct_call_us", "ratio"),
    ),
    "boot": Benchmark("Linux from the command to its init, beside QEMU's TCG", _boot, _show_boot),
    "cpu": Benchmark("guest loops in the VMM's CPU engine", _cpu, _show_cpu),
}


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="benchmark", metavar="ipc|boot|cpu", required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.text, description=benchmark.text)
        command.add_argument("--json", action="store_true", help="print a JSON object")
        command.add_argument(
            *(("--rounds", "--runs") if name == "ipc" else ("--runs",)),
            dest="runs",
            type=positive,
            metavar="N",
            help="how often to measure each",
        )
        if name == "ipc":
            command.add_argument(
                "--calls", type=positive, metavar="N", help="calls in each of the rounds"
            )
            add_weak(command)
        elif name == "cpu":
            command.add_argument(
                "--iterations", type=positive, metavar="N", help="turns of each loop"
            )


def run(args: argparse.Namespace) -> int:
    benchmark = BENCHMARKS[args.benchmark]
    numbers = benchmark.measure(args)
    if args.json:
        print(json.dumps({key: numbers[key] for key in benchmark.keys or numbers}))
    else:
        benchmark.show(numbers)
    return 0
