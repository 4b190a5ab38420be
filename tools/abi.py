"""``cloister abi``: what comes from tables.

Writes the runtime's typed stubs and the reference manual of the kernel's interface, both from
``kernel.abi``, and the TPM's commands in its manual.  ``--check`` says whether the files in the
tree are up to date.
"""

from __future__ import annotations

import argparse
import sys
from enum import IntEnum, IntFlag
from pathlib import Path

from kernel import abi
from kernel.abi import CALLS, CallSpec
from tools import tpm_commands

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "servers" / "runtime" / "syscalls.py"
MANUAL = ROOT / "docs" / "abi.md"

_HANDING_OVER = ("map", "device_map", "link_open")
"""Calls whose answer comes with a resource of the machine."""
_TYPES = {
    "cap": "int",
    "uint": "int",
    "timeout": "int",
    "rights": "int",
    "label": "int",
    "bytes": "bytes",
    "text": "str",
    "caps": "list[int]",
}
_HEADER = '''"""System calls as typed methods.

Written by ``cloister abi`` from the table in ``kernel.abi``: do not edit.
"""

from __future__ import annotations

from servers.runtime.channel import Caller, Resource
from servers.runtime.errors import raise_kernel_error


class Syscalls(Caller):
    """Every system call of the kernel; errors are raised as ``KernelError``."""
'''


def _wrap(text: str, indent: str, width: int = 99) -> str:
    lines, line = [], indent
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return "\n".join([*lines, line.rstrip()])


def _result(spec: CallSpec) -> str:
    kinds = [_TYPES[kind] for _, kind in spec.results]
    if spec.name in _HANDING_OVER:
        kinds.append("Resource")
    if not kinds:
        return "None"
    return kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"


def _stub(spec: CallSpec) -> str:
    parameters = [f"{name}: {_TYPES[kind]}" for name, kind in spec.arguments]
    call = ", ".join([str(spec.number), *(name for name, _ in spec.arguments)])
    signature = f"    def {spec.name}(self, {', '.join(parameters)}) -> {_result(spec)}:"
    if not parameters:
        signature = f"    def {spec.name}(self) -> {_result(spec)}:"
    if len(signature) > 99:
        inner = "".join(f"        {parameter},\n" for parameter in parameters)
        signature = f"    def {spec.name}(\n        self,\n{inner}    ) -> {_result(spec)}:"
    text = _wrap('"""' + " ".join(spec.text.split()) + '"""', "        ")
    names = [name for name, _ in spec.results]
    if spec.name in _HANDING_OVER:
        names.append("resource")
        body = (
            f"        answer, resource = self.invoke_resource([{call}])\n"
            f"        _, {', '.join(names[:-1])} = answer\n"
            f"        return {', '.join(names)}"
        )
        if not spec.results:
            body = f"        return self.invoke_resource([{call}])[1]"
    else:
        body = (
            f"        request = [{call}]\n"
            "        answer = self.exchange(request)\n"
            "        if answer[0]:\n"
            "            raise_kernel_error(request, answer[0])"
        )
        if len(names) == 1:
            body += f"\n        {names[0]}: {_result(spec)} = answer[1]\n        return {names[0]}"
        elif names:
            body += f"\n        _, {', '.join(names)} = answer\n        return {', '.join(names)}"
    return f"{signature}\n{text}\n{body}\n"


def stubs() -> str:
    """The text of ``servers/runtime/syscalls.py``."""
    return _HEADER + "\n" + "\n".join(_stub(spec) for spec in CALLS)


def _enumeration(kind: type[IntEnum] | type[IntFlag], source: str) -> str:
    """A table of the members with the sentences that follow them in the source."""
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"class {kind.__name__}("))
    rows = []
    for member in kind:
        at = next(
            i
            for i, line in enumerate(lines)
            if i > start and line.startswith(f"    {member.name} =")
        )
        text = ""
        if lines[at + 1].lstrip().startswith('"""'):
            end = at + 1
            while not lines[end].rstrip().endswith('"""'):
                end += 1
            text = " ".join(line.strip() for line in lines[at + 1 : end + 1]).strip('" ')
        rows.append(f"| {int(member)} | `{member.name}` | {text.replace('``', '`')} |")
    return "| value | name | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def manual() -> str:
    """The text of ``docs/abi.md``."""
    source = Path(abi.__file__).read_text(encoding="utf-8")
    parts = [
        "# The kernel's interface\n\n"
        "Written by `cloister abi` from the table in `kernel/abi.py`: do not edit.\n\n"
        "A request is one msgpack array `[number, argument, ...]`, its answer\n"
        "`[error, result, ...]`.\n"
        "A malformed request ends its sender's address space, with a fault message to its\n"
        f"supervisor.  A payload has at most {abi.MAX_PAYLOAD} bytes, a message at most "
        f"{abi.MAX_CAPS} capabilities.\n"
        "Timeouts are nanoseconds; -1 waits forever, 0 does not wait.\n\n## Calls\n"
    ]
    for spec in CALLS:
        arguments = ", ".join(f"{name}: {kind}" for name, kind in spec.arguments)
        results = ", ".join(f"{name}: {kind}" for name, kind in spec.results) or "nothing"
        errors = ", ".join(f"`{error.name}`" for error in spec.errors) or "none"
        parts.append(
            f"\n### {spec.number}. `{spec.name}({arguments})`\n\n"
            f"{_wrap(spec.text, '').strip()}\n\n"
            f"Returns {results}.  \nErrors: {errors}.\n"
        )
    for kind, title in (
        (abi.Error, "Errors"),
        (abi.Right, "Rights"),
        (abi.Fault, "Faults"),
        (abi.ThreadState, "Thread states"),
        (abi.ThreadOp, "Operations of `thread_control`"),
        (abi.SpaceFlag, "Flags of an address space"),
        (abi.DebugOp, "Operations of `debug`"),
        (abi.TraceEvent, "Events of the trace ring"),
    ):
        parts.append(f"\n## {title}\n\n{_enumeration(kind, source)}")
    return "".join(parts)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="fail if a file is not up to date, and write nothing"
    )


def run(args: argparse.Namespace) -> int:
    stale = [
        (path, text)
        for path, text in (
            (STUBS, stubs()),
            (MANUAL, manual()),
            (tpm_commands.MANUAL, tpm_commands.filled(tpm_commands.MANUAL.read_text())),
        )
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        name = path.relative_to(ROOT)
        if args.check:
            print(f"{name} is not what the tables say; run: cloister abi", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if args.check and stale else 0
