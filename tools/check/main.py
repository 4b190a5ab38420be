"""``cloister check``: search the kernel's state machine for a law that it breaks.

Explores every order in which small worlds can go on, and checks all invariants in every state that
is reached; then does the same with kernels that are broken on purpose, each of which must be found
out.  Status 1 if the kernel breaks a law or a broken one is not found out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from tools import render
from tools.arguments import positive
from tools.check import counterexample, explore, invariants, walks
from tools.check.configurations import CONFIGURATIONS, GENERATED, Configuration
from tools.check.counterexample import NAMED, Counterexample
from tools.check.mutants import Mutant, applied
from tools.errors import UserError

DEPTH: Final = 8
"""Actions, in worlds without scripts."""
_TRIES: Final = (300, 6000)
"""States of each configuration in which a mutant is looked for, first few and then many."""
STEPS: Final = 400
"""Of a random walk."""
_EPILOG: Final = """\
examples:
  cloister check                           everything, to a moderate depth
  cloister check --depth 10 --no-mutants   hundreds of thousands of states, in minutes; each
                                           step deeper is two to three times as many
  cloister check --only labels-part        one configuration
  cloister check --mutants --save found    the broken kernels; write down what breaks each
  cloister check --replay found/rights-grow.json
"""


class Result(NamedTuple):
    """What became of one configuration."""

    name: str
    found: explore.Found
    mutant: str = ""
    depth: int | None = None

    @property
    def configuration(self) -> Configuration:
        """It has functions in it, which do not go from process to process."""
        return CONFIGURATIONS[self.name]

    def counterexample(self) -> Counterexample | None:
        violation = self.found.violation
        if violation is None:
            return None
        return Counterexample.of(self.name, self.mutant, violation)

    def verdict(self) -> str:
        if self.found.violation is not None:
            return f"BREAKS {self.found.violation.law}"
        return "holds" if self.found.complete else f"holds to depth {self.depth}"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--depth",
        type=positive,
        default=DEPTH,
        metavar="N",
        help=f"how many calls and events, in worlds without scripts (default: {DEPTH})",
    )
    parser.add_argument("--only", metavar="NAME", help="explore one configuration")
    parser.add_argument("--list", action="store_true", help="list configurations, laws, mutants")
    parser.add_argument(
        "--no-reduction", action="store_true", help="try every order, also where none can matter"
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        metavar="N",
        help="processes that search (default: one a processor)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--mutants", action="store_true", help="explore the broken kernels alone")
    which.add_argument("--no-mutants", action="store_true", help="leave the broken kernels out")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--save", metavar="FOLDER", help="write counterexamples to files there")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--replay", metavar="FILE|TEXT", help="repeat a counterexample, step by step"
    )
    again.add_argument("--seed", type=int, metavar="N", help="repeat a random walk by its seed")
    again.add_argument("--walk", metavar="TEXT", help="repeat a walk that a test's failure names")
    parser.add_argument(
        "--steps", type=positive, default=STEPS, metavar="N", help=f"of --seed's walk ({STEPS})"
    )


def run(args: argparse.Namespace) -> int:
    if args.list:
        return _list()
    if args.replay is not None:
        return _replay(args.replay)
    if args.walk is not None:
        return _walked(walks.repeated(args.walk), "this walk")
    if args.seed is not None:
        return _walked(walks.seeded(args.seed, args.steps), f"the walk with seed {args.seed}")
    return _search(args)


def _search(args: argparse.Namespace) -> int:
    chosen = [] if args.mutants else _chosen(args.only)
    if args.only is not None:
        _chosen(args.only)
    progress = not args.json and sys.stderr.isatty()
    one = partial(_explored, depth=args.depth, reduce=not args.no_reduction, progress=progress)
    results = list(_spread(one, chosen, args.jobs))
    names = [] if args.no_mutants else list(NAMED)
    began = time.monotonic()
    mutants = dict(zip(names, _spread(hunt, names, args.jobs), strict=True))
    hunted = time.monotonic() - began
    broken = [result for result in results if result.found.violation is not None]
    caught = [result for result in mutants.values() if result is not None]
    if args.save is not None:
        counterexample.save(
            Path(args.save),
            [it for result in (*broken, *caught) if (it := result.counterexample())],
        )
    if args.json:
        print(json.dumps(_as_json(results, mutants)))
    else:
        _show(results, mutants, hunted)
    for result in broken:
        print(f"cloister: the kernel breaks a law in {result.name}", file=sys.stderr)
    missed = [name for name, result in mutants.items() if result is None]
    for name in missed:
        print(f"cloister: the search did not find the mutant {name} out", file=sys.stderr)
    return 1 if broken or missed else 0


def _chosen(only: str | None) -> list[str]:
    if only is None:
        return list(CONFIGURATIONS)
    if only not in CONFIGURATIONS:
        known = ", ".join(CONFIGURATIONS)
        raise UserError(f"there is no configuration {only!r}; there are {known}")
    return [only]


Found = TypeVar("Found")


def _spread(work: Callable[[str], Found], names: list[str], jobs: int) -> Iterable[Found]:
    """The results of work on each name, in their order, from so many processes."""
    if min(jobs, len(names)) < 2:
        yield from map(work, names)
        return
    with ProcessPoolExecutor(min(jobs, len(names)), get_context("fork")) as pool:
        yield from pool.map(work, names)


def _explored(name: str, depth: int, reduce: bool, progress: bool) -> Result:
    limit = depth if name in GENERATED else None

    def tell(states: int) -> None:
        print(f"\r\033[K{name}: {states} states", end="", file=sys.stderr, flush=True)

    found = explore.explore(
        CONFIGURATIONS[name].build(), limit, reduce=reduce, tell=tell if progress else None
    )
    if progress:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return Result(name, found, "", limit)


def hunt(name: str) -> Result | None:
    """The shortest counterexample to a mutant in the first configuration that has one."""
    mutant: Mutant = NAMED[name]
    for most in _TRIES:
        for one in CONFIGURATIONS.values():
            world = one.build()  # which a kernel in order sets up
            with applied(mutant):
                found = explore.explore(world, one.depth, most)
            if found.violation is not None:
                return Result(one.name, found, name)
    return None


# What is printed


def _show(results: list[Result], mutants: dict[str, Result | None], hunted: float) -> None:
    if results:
        render.table(
            ("configuration", "threads", "calls", "states", "transitions", "cpu", "verdict"),
            [_row(result) for result in results],
        )
        states = sum(result.found.states for result in results)
        seconds = sum(result.found.seconds for result in results)
        rate = f", {states / seconds:,.0f} a second" if seconds > 1 else ""
        print(
            f"\n{len(results)} configurations, {states:,} distinct states, "
            f"{len(invariants.LAWS)} invariants, {seconds:.1f}s of processor time{rate}"
        )
    for result in results:
        _tell(f"{result.name} breaks a law", result)
    for name, caught in mutants.items():
        if caught is None:
            print(f"\nmutant {name}: NOT FOUND OUT")
        else:
            _tell(f"mutant {name}, found out in {caught.name}", caught)
    if mutants:
        caught_ones = sum(one is not None for one in mutants.values())
        print(f"\n{caught_ones} of {len(mutants)} mutants found out, {hunted:.1f}s")


def _row(result: Result) -> list[object]:
    world, found = result.configuration.build(), result.found
    movers = [actor for actor in world.actors if actor.script or actor.alphabet]
    calls = sum(len(actor.script) for actor in movers)
    return [
        *(result.name, len(movers)),
        calls or f"any of {sum(len(actor.alphabet) for actor in movers)}",
        *(found.states, found.transitions, f"{found.seconds:.1f}s", result.verdict()),
    ]


def _tell(title: str, result: Result) -> None:
    found, violation = result.counterexample(), result.found.violation
    if found is None or violation is None:
        return
    print(f"\n{title}")
    for line in found.repeat().numbered():
        print(f"  {line}")
    print(f"  breaks {violation.text}\n  {found.command()}")


def _as_json(results: list[Result], mutants: dict[str, Result | None]) -> dict[str, Any]:
    return {
        "configurations": [
            {
                "name": result.name,
                "states": result.found.states,
                "transitions": result.found.transitions,
                "seconds": round(result.found.seconds, 2),
                "complete": result.found.complete,
                "counterexample": _counted(result),
            }
            for result in results
        ],
        "states": sum(result.found.states for result in results),
        "seconds": round(sum(result.found.seconds for result in results), 2),
        "invariants": invariants.LAWS,
        "mutants": {name: found and _counted(found) for name, found in mutants.items()},
    }


def _counted(result: Result) -> dict[str, Any] | None:
    found = result.counterexample()
    return None if found is None else found.saved()


def _replay(given: str) -> int:
    """Repeat a counterexample; 1 if the law is still broken."""
    repeated = counterexample.read(given).repeat()
    for line in repeated.numbered():
        print(line)
    if not repeated.complete:
        raise UserError(
            f"step {len(repeated.lines) + 1} cannot be taken: the kernel does otherwise"
        )
    print(f"\nbreaks {repeated.broken[1]}" if repeated.broken else "\nall laws hold")
    return 1 if repeated.broken else 0


def _walked(steps: Iterator[None], what: str) -> int:
    """Repeat a walk; 1 if it breaks a law."""
    number = 0
    try:
        for _ in steps:
            number += 1
    except AssertionError as error:
        print(f"step {number + 1} of {what}: {str(error).partition(chr(10))[0]}")
        return 1
    print(f"{number} steps of {what}: all laws hold")
    return 0


def _list() -> int:
    render.table(
        ("configuration", "what it is"), [(one.name, one.text) for one in CONFIGURATIONS.values()]
    )
    print()
    render.table(("invariant", "law"), list(invariants.LAWS.items()))
    print()
    words = [" ".join((mutant.__doc__ or "").split()) for mutant in NAMED.values()]
    render.table(("mutant", "what is wrong"), list(zip(NAMED, words, strict=True)))
    return 0
