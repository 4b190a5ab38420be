"""``cloister bench``: measure Cloister against its peers, in the same run on the same machine.

``load`` measures nothing but whether anything is lost, or left over.
"""

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
    failed: Callable[[Numbers], bool] = lambda _numbers: False


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


def _block(args: argparse.Namespace) -> Numbers:
    from tools.bench import block

    return block.measure(args.runs or block.RUNS)._asdict()


def _net(args: argparse.Namespace) -> Numbers:
    from tools.bench import net

    return net.measure(args.runs or net.RUNS)._asdict()


def _tcb(args: argparse.Namespace) -> Numbers:
    from tools.bench import tcb

    return tcb.measure(args.runs or tcb.RUNS)._asdict()


def _guests(args: argparse.Namespace) -> Numbers:
    from tools.bench import guests

    return {each.name: each.missing for each in guests.measure(args.write)}


def _show_guests(numbers: Numbers) -> None:
    rows = [(name, f"no: {', '.join(m)}" if m else "yes") for name, m in numbers.items()]
    render.table(("guest", "boots"), rows)


def _stress(args: argparse.Namespace) -> Numbers:
    from tools.bench import stress

    return stress.measure(args.runs or stress.RUNS)._asdict()


def _tpm(args: argparse.Namespace) -> Numbers:
    from tools.bench import tpm

    return tpm.measure(args.runs, args.commands)._asdict()


def _load(args: argparse.Namespace) -> Numbers:
    from tools.bench import load

    given = {name: getattr(args, name) for name in load.Load._fields}
    chosen = load.Load(**{name: value for name, value in given.items() if value is not None})
    return load.measure(chosen, args.allow_weak_isolation)


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


def _show_block(numbers: Numbers) -> None:
    rows = []
    for interface, passes in numbers["cloister_mb_s"].items():
        peer = numbers["qemu_tcg_mb_s"].get(interface, {})
        ratios = numbers["ratios"].get(interface, {})
        for name, rate in passes.items():
            theirs = f"{peer[name]:.0f}" if peer else "-"
            ratio = f"{ratios[name]:.2f}" if ratios else "-"
            rows.append((f"{interface}, {name}", f"{rate:.0f}", theirs, ratio))
    render.table(("dd in a guest", "cloister, MB/s", "qemu, tcg", "ratio"), rows)
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in numbers["protected_ratios"].items())
    print(f"\nencrypted and authenticated, to the same without: {shown}")
    if not numbers["ratios"]:
        print("\nQEMU is not installed")
    elif _is_slow(numbers):
        print(f"\na ratio is below {numbers['limit']:.1f}")


def _is_slow(numbers: Numbers) -> bool:
    rows = [*numbers["ratios"].values(), numbers["protected_ratios"]]
    return any(ratio < numbers["limit"] for row in rows for ratio in row.values())


def _show_net(numbers: Numbers) -> None:
    peer, ratios = numbers["qemu_tcg_mb_s"], numbers["ratios"]
    rows = [
        (model, f"{rate:.1f}", *((f"{peer[model]:.1f}", f"{ratios[model]:.2f}") if peer else "--"))
        for model, rate in numbers["cloister_mb_s"].items()
    ]
    render.table(("TCP from guest to guest", "cloister, MB/s", "qemu, tcg", "ratio"), rows)
    if not ratios:
        print("\nQEMU is not installed")
    elif _is_congested(numbers):
        print(f"\na ratio is below {numbers['limit']:.1f}")


def _is_congested(numbers: Numbers) -> bool:
    return any(ratio < numbers["limit"] for ratio in numbers["ratios"].values())


def _show_stress(numbers: Numbers) -> None:
    for title, kind, limit in (
        ("in a guest, seconds", "s", "limit"),
        ("resident of the process, MiB", "mib", "memory_limit"),
    ):
        ratios = numbers["ratios" if kind == "s" else "memory_ratios"]
        peer = numbers[f"qemu_tcg_{kind}"]
        rows = [
            (
                name,
                f"{found:.2f}",
                *((f"{peer[name]:.2f}", f"{ratios[name]:.2f}") if peer else "--"),
            )
            for name, found in numbers[f"cloister_{kind}"].items()
        ]
        render.table((title, "cloister", "qemu, tcg", "ratio"), rows)
        print(f"the limit is {numbers[limit]:.1f}\n")
    if not numbers["ratios"]:
        print("QEMU is not installed")


def _is_heavy(numbers: Numbers) -> bool:
    ratios, memory = numbers["ratios"], numbers["memory_ratios"]
    return bool(ratios) and (
        ratios["all"] > numbers["limit"] or max(memory.values()) > numbers["memory_limit"]
    )


def _show_cpu(numbers: Numbers) -> None:
    render.table(("guest loop", "MIPS"), [(name, f"{mips:.0f}") for name, mips in numbers.items()])


def _show_tpm(numbers: Numbers) -> None:
    from tools.bench.tpm import START_LIMIT

    limits = numbers["limits"]
    rows = []
    for name, ratio in numbers["ratios"].items():
        ours, theirs, limit = numbers["ours_ms"][name], numbers["swtpm_ms"][name], limits.get(name)
        verdict = "-" if limit is None else "ok" if ratio <= limit else "over"
        shown = (f"{ours:.3f}", f"{theirs:.3f}", f"{ratio:.2f}")
        rows.append((name, *shown, "-" if limit is None else f"{limit:.1f}", verdict))
    render.table(("command", "ours, ms", "swtpm, ms", "ratio", "limit", ""), rows)
    start = numbers["start_seconds"]
    print(
        f"\nthe first answer comes {start:.3f} s after the start of the process, swtpm's after "
        f"{numbers['swtpm_start_seconds']:.3f} s; the limit is {START_LIMIT:g} s"
        + ("" if start < START_LIMIT else ", which is not kept")
    )


def _show_tcb(numbers: Numbers) -> None:
    rows = [
        ("a report of the default system, booted for it", f"{numbers['report_s']:.2f}"),
        ("what-if with 10,000 processes and 100,000 capabilities", f"{numbers['what_if_s']:.2f}"),
    ]
    render.table(("cloister tcb", "seconds"), rows)
    if _is_long(numbers):
        print(f"\nthe limit of {numbers['limit']:g} s is not kept")


def _is_long(numbers: Numbers) -> bool:
    return any(numbers[name] > numbers["limit"] for name in ("report_s", "what_if_s"))


def _show_load(numbers: Numbers) -> None:
    held = numbers["held"]
    counts = {"calls": 0, **numbers["counts"], **numbers["kills"]}
    render.table(("in the run", "times"), [(what, str(count)) for what, count in counts.items()])
    print()
    rows = []
    for what in held["before"]:
        in_bytes = what in ("bytes", "memory")
        cells = [held[when].get(what) for when in ("before", "half way", "after")]
        shown = ["-" if n is None else render.size(n) if in_bytes else str(n) for n in cells]
        rows.append((_HELD.get(what, what), *shown))
    render.table(("held when all is quiet", "before", "half way", "after"), rows)
    print(f"\n{numbers['processes']} processes, {numbers['seconds']:.0f} s")
    for problem in numbers["problems"]:
        print(f"wrong: {problem}")
    if not numbers["problems"]:
        print("nothing was lost, nothing is left over")


_HELD = {
    "bytes": "bytes of quota",
    "processes": "processes of the host",
    "descriptors": "descriptors of the kernel",
    "memory": "memory of the kernel",
}

BENCHMARKS = {
    "ipc": Benchmark("a call and its reply, beside a raw socketpair", _ipc, _show_ipc),
    "boot": Benchmark("Linux from the command to its init, beside QEMU's TCG", _boot, _show_boot),
    "cpu": Benchmark("guest loops in the VMM's CPU engine", _cpu, _show_cpu),
    "block": Benchmark(
        "a guest's disk through virtio and IDE, beside QEMU's TCG", _block, _show_block, _is_slow
    ),
    "net": Benchmark(
        "TCP from one guest to another, beside QEMU's TCG", _net, _show_net, _is_congested
    ),
    "stress": Benchmark(
        "processes, gzip and hashes in a guest, and its memory, beside QEMU's TCG",
        *(_stress, _show_stress, _is_heavy),
    ),
    "tpm": Benchmark("TPM 2.0 commands, beside Debian's swtpm", _tpm, _show_tpm),
    "tcb": Benchmark(
        "a report of trusted code, and what-if on a large graph", _tcb, _show_tcb, _is_long
    ),
    "guests": Benchmark(
        "unmodified systems: which of them boot",
        _guests,
        _show_guests,
        lambda numbers: any(numbers.values()),
    ),
    "load": Benchmark(
        "many processes that call, share, stream and are killed: what is lost, what is left over",
        _load,
        _show_load,
        lambda numbers: bool(numbers["problems"]),
    ),
}


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="benchmark", metavar="|".join(BENCHMARKS), required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.text, description=benchmark.text)
        command.add_argument("--json", action="store_true", help="print a JSON object")
        if name == "guests":
            command.add_argument(
                "--write", action="store_true", help="write docs/guests.md, with pictures"
            )
            continue
        if name == "load":
            _configure_load(command)
            continue
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
        elif name == "tpm":
            command.add_argument(
                "commands", nargs="*", metavar="COMMAND", help="these alone, such as Quote_ECC"
            )
        elif name == "cpu":
            command.add_argument(
                "--iterations", type=positive, metavar="N", help="turns of each loop"
            )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1000:
        raise argparse.ArgumentTypeError("0 to 1000")
    return rate


def _configure_load(command: argparse.ArgumentParser) -> None:
    for name, kind, text in (
        ("processes", positive, "processes at once (default: 200)"),
        ("calls", positive, "calls until the end (default: a million)"),
        ("seconds", positive, "end then, however many calls were made (default: 600)"),
        ("kills", _rate, "processes to kill in a second (default: 4)"),
        ("seed", int, "another one has others killed, and other calls made (default: 1)"),
    ):
        command.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    add_weak(command)


def run(args: argparse.Namespace) -> int:
    benchmark = BENCHMARKS[args.benchmark]
    numbers = benchmark.measure(args)
    if args.json:
        print(json.dumps(numbers))
    else:
        benchmark.show(numbers)
    return int(benchmark.failed(numbers))
