"""Run one target under atheris, which measures coverage and looks for what is new.

    pip install atheris
    python -m tests.fuzz.atheris_run TARGET [FOLDER] [-runs=N] [-max_total_time=SECONDS] ...

Arguments after the target are libFuzzer's.  New inputs go to FOLDER, if one is given; the target's
corpus in the tree is read and never written.  An input that breaks a promise is printed and kept in
the current folder as ``crash-*``: give it a telling name in the corpus once the fault is mended.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, Final

INSTRUMENTED: Final = ["kernel", "servers", "drivers", "vmm"]


def main(arguments: list[str]) -> int:
    """Fuzz until something is found; the exit status is libFuzzer's."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; get it with: pip install atheris", file=sys.stderr)
        return 2
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    if not arguments or arguments[0] not in targets.TARGETS:
        print(f"name a target: {', '.join(targets.TARGETS)}", file=sys.stderr)
        return 2
    name, *rest = arguments
    target = targets.TARGETS[name]
    folder = targets.CORPUS / name
    # libFuzzer writes to the first folder and reads all of them.
    given = [argument for argument in rest if not argument.startswith("-")]
    options = [argument for argument in rest if argument.startswith("-")]
    seeds = [str(folder)] if folder.is_dir() and given else []
    if not given:
        options += [f"-seed_inputs={path}" for path in _listed(targets.corpus(name))]
    longest = f"-max_len={max(4096, target.longest)}"
    atheris.Setup([sys.argv[0], longest, *options, *given, *seeds], target.run)
    atheris.Fuzz()
    return 0


def _listed(paths: list[Any]) -> list[str]:
    """One argument's worth of files."""
    return [",".join(map(str, paths))] if paths else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
