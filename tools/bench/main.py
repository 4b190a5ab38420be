"""``cloister bench``: measure Cloister against its peers, in the same run on the same machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tools import render
from tools.arguments import add_weak, positive

Numbers = Mapping[str, Any]
"""What was measured, by name: a number, None where there is none, or an object of numbers."""


class Benchmark(NamedTuple):
    """One benchmark."""

    text: str
    measure: Callable[[argparse.Namespace], Numbers]
    show: Callable[[Numbers], None]


def _ipc(args: argparse.Namespace) -> Numbers:
    from tools.bench import ipc

    calls, rounds = args.calls or ipc.CALLS, args.runs or ipc.ROUNDS
    found = ipc.measure(calls, rounds, args.allow_weak_isolation, args.peers)._asdict()
    return found if args.peers or not args.json else {k: found[k] for k in found if k != "peers"}


def _boot(args: argparse.Namespace) -> Numbers:
    from tools.bench import boot

    return boot.measure(args.runs or boot.RUNS)._asdict()


def _cpu(args: argparse.Namespace) -> Numbers:
    from tools.bench import cpu

    return cpu.measure(args.iterations or cpu.ITERATIONS, args.runs or cpu.RUNS)


def _show_ipc(numbers: Numbers) -> None:
    raw = numbers["raw_socketpair_us"] or 1.0
    rows = [
        (text, numbers[key])
        for text, key in (
            ("raw socketpair", "raw_socketpair_us"),
            ("direct call", "direct_call_us"),
            ("mediated call", "mediated_call_us"),
            ("its system calls alone", "system_call_us"),
        )
    ]
    rows += sorted(numbers["peers"].items(), key=lambda row: row[1])
    render.table(
        ("64 bytes there and back", "us", "times"),
        [(text, f"{found:.2f}", f"{found / raw:.2f}") for text, found in rows],
    )
    messages, stream = numbers["bulk_messages_us"], numbers["bulk_stream_us"]
    print(f"\na mediated call takes {numbers['ratio']:.2f} times as long as a raw socketpair")
    print(
        f"1 MiB takes {messages:.0f} us by messages and {stream:.0f} us through a packet stream, "
        f"which is {messages / stream:.1f} times faster"
    )


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
    "ipc": Benchmark("a call and its reply, beside a raw socketpair", _ipc, _show_ipc),
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
            command.add_argument(
                "--peers",
                action="store_true",
                help="measure pyzmq, Pyro5, rpyc, grpc and D-Bus (jeepney), too, if installed",
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
        print(json.dumps(numbers))
    else:
        benchmark.show(numbers)
    return 0
