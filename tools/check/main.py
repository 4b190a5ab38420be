"""``cloister check``: search the kernel's state machine for a law that it breaks.

Explores every order in which small worlds can go on, and checks all invariants in every state that
is reached; then does the same with kernels that are broken on purpose, each of which must be found
out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools import render
from tools.arguments import positive
from tools.check import explore, invariants
from tools.check.configurations import CONFIGURATIONS, GENERATED, Configuration
from tools.check.model import Action
from tools.check.mutants import MUTANTS, Mutant, applied
from tools.check.walk import Walker
from tools.errors import UserError

DEPTH: Final = 4
"""Actions, in worlds without scripts."""
_TRIES: Final = (300, 6000)
"""States of each configuration in which a mutant is looked for, first few and then many."""
STEPS: Final = 400
"""Of a random walk."""
_MUTANTS: Final = {mutant.__name__.replace("_", "-"): mutant for mutant in MUTANTS}


class Result(NamedTuple):
    """What became of one configuration."""

    configuration: Configuration
    found: explore.Found
    mutant: str = ""

    def saved(self) -> dict[str, Any]:
        """The counterexample, as it is written to a file."""
        violation = self.found.violation
        assert violation is not None
        return {
            "configuration": self.configuration.name,
            "mutant": self.mutant,
            "law": violation.law,
            "path": [list(action) for action in violation.path],
        }


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--depth",
        type=positive,
        default=DEPTH,
        metavar="N",
        help=f"calls and events in worlds without scripts (default: {DEPTH}; 7 takes hours)",
    )
    parser.add_argument("--only", metavar="NAME", help="explore one configuration")
    parser.add_argument("--list", action="store_true", help="list configurations, laws, mutants")
    parser.add_argument(
        "--no-reduction", action="store_true", help="try every order, also where none can matter"
    )
    parser.add_argument("--no-mutants", action="store_true", help="leave the broken kernels out")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--save", metavar="FOLDER", help="write counterexamples to files there")
    parser.add_argument("--replay", metavar="FILE", help="repeat a counterexample, step by step")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat a random walk by its seed")
    parser.add_argument(
        "--steps", type=positive, default=STEPS, metavar="N", help=f"of that walk ({STEPS})"
    )


def run(args: argparse.Namespace) -> int:
    if args.list:
        return _list()
    if args.replay is not None:
        return _replay(Path(args.replay))
    if args.seed is not None:
        return _walk(args.seed, args.steps)
    results = list(_explored(args))
    broken = [result for result in results if result.found.violation is not None]
    mutants = [] if args.no_mutants else list(_hunted())
    missed = [name for name, result in mutants if result is None]
    caught = [result for _, result in mutants if result is not None]
    if args.save is not None:
        _save(Path(args.save), [*broken, *caught])
    if args.json:
        print(json.dumps(_as_json(results, mutants)))
    else:
        _show(results, mutants)
    for result in broken:
        print(f"cloister: the kernel breaks a law in {result.configuration.name}", file=sys.stderr)
    for name in missed:
        print(f"cloister: the search did not find the mutant {name} out", file=sys.stderr)
    return 1 if broken or missed else 0


def _explored(args: argparse.Namespace) -> Iterator[Result]:
    if args.only is not None and args.only not in CONFIGURATIONS:
        known = ", ".join(CONFIGURATIONS)
        raise UserError(f"there is no configuration {args.only!r}; there are {known}")
    chosen = [args.only] if args.only is not None else list(CONFIGURATIONS)
    progress = not args.json and sys.stderr.isatty()
    for name in chosen:
        one = CONFIGURATIONS[name]
        depth = args.depth if name in GENERATED else None

        def tell(states: int, name: str = name) -> None:
            print(f"\r{name}: {states} states", end="", file=sys.stderr, flush=True)

        found = explore.explore(
            one.build, depth, reduce=not args.no_reduction, tell=tell if progress else None
        )
        if progress:
            print("\r\033[K", end="", file=sys.stderr)
        yield Result(one, found)


def hunt(mutant: Mutant) -> Result | None:
    """The shortest counterexample to a broken kernel in the first configuration that has one."""
    with applied(mutant):
        for most in _TRIES:
            for one in CONFIGURATIONS.values():
                found = explore.explore(one.build, one.depth, most)
                if found.violation is not None:
                    return Result(one, found, mutant.__name__.replace("_", "-"))
    return None


def _hunted() -> Iterator[tuple[str, Result | None]]:
    for name, mutant in _MUTANTS.items():
        yield name, hunt(mutant)


def _script(result: Result) -> list[str]:
    """A counterexample in words."""
    violation = result.found.violation
    assert violation is not None
    with ExitStack() as stack:
        if result.mutant:
            stack.enter_context(applied(_MUTANTS[result.mutant]))
        return explore.told(result.configuration.build, violation.path)


def _show(results: list[Result], mutants: list[tuple[str, Result | None]]) -> None:
    rows = []
    for result in results:
        name, found = result.configuration.name, result.found
        verdict = "all" if found.complete else "to the depth"
        rows.append(
            [
                *(name, found.states, found.transitions, len(found.ends)),
                *(f"{found.seconds:.1f}s", "BROKEN" if found.violation else verdict),
            ]
        )
    render.table(("configuration", "states", "transitions", "ends", "time", "seen"), rows)
    states = sum(result.found.states for result in results)
    seconds = sum(result.found.seconds for result in results)
    print(
        f"\n{len(results)} configurations, {states} distinct states, "
        f"{len(invariants.LAWS)} invariants in each, {seconds:.1f}s"
    )
    for result in results:
        if result.found.violation is not None:
            _tell(f"{result.configuration.name} breaks a law", result)
    for name, caught in mutants:
        if caught is None:
            print(f"\nmutant {name}: NOT FOUND OUT")
        else:
            _tell(f"mutant {name}, found out in {caught.configuration.name}", caught)


def _tell(title: str, result: Result) -> None:
    violation = result.found.violation
    assert violation is not None
    print(f"\n{title} after {result.found.states} states: {violation.law}")
    for number, line in enumerate(_script(result), start=1):
        print(f"  {number:2}  {line}")


def _as_json(results: list[Result], mutants: list[tuple[str, Result | None]]) -> dict[str, Any]:
    return {
        "configurations": [
            {
                "name": result.configuration.name,
                "states": result.found.states,
                "transitions": result.found.transitions,
                "seconds": round(result.found.seconds, 2),
                "complete": result.found.complete,
                "counterexample": result.saved() if result.found.violation else None,
            }
            for result in results
        ],
        "states": sum(result.found.states for result in results),
        "invariants": list(invariants.LAWS),
        "mutants": {name: found.saved() if found else None for name, found in mutants},
    }


def _save(folder: Path, results: list[Result]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        path = folder / f"{result.mutant or result.configuration.name}.json"
        path.write_text(json.dumps(result.saved(), indent=2) + "\n", encoding="utf-8")


def _replay(path: Path) -> int:
    """Repeat a counterexample; 1 if the law is still broken."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        one = CONFIGURATIONS[saved["configuration"]]
        actions = tuple(Action(*action) for action in saved["path"])
        mutant = _MUTANTS[saved["mutant"]] if saved["mutant"] else None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path} is no counterexample that `cloister check --save` wrote") from None
    with ExitStack() as stack:
        if mutant is not None:
            stack.enter_context(applied(mutant))
        law = explore.replayed(one.build, actions)
        for number, line in enumerate(explore.told(one.build, actions), start=1):
            print(f"{number:2}  {line}")
    print(f"\n{law}" if law else "\nall laws hold")
    return 1 if law else 0


def _walk(seed: int, steps: int) -> int:
    """Repeat a random walk; 1 if it breaks a law."""
    walker = Walker(random.Random(seed).randrange)
    for number in range(1, steps + 1):
        try:
            walker.step()
        except AssertionError as error:
            print(f"step {number} of the walk with seed {seed}: {error}")
            return 1
    print(f"{steps} steps of the walk with seed {seed}: all laws hold")
    return 0


def _list() -> int:
    render.table(
        ("configuration", "what it is"), [(one.name, one.text) for one in CONFIGURATIONS.values()]
    )
    print()
    render.table(("invariant", "law"), list(invariants.LAWS.items()))
    print()
    render.table(("mutant",), [(name,) for name in _MUTANTS])
    return 0
