"""What a row of the table of commands (`table.py`) is, and the table as the dispatcher reads it.

A row says of a command what part 3 of the specification says in its two tables: the handles with
their types and authorization roles, the parameters and the response with their types, and the
attributes. Everything that is general about a command follows from its row: dispatch, unmarshalling
with its error codes, which sessions it needs and takes, whether the first parameter can be
encrypted, and the answer to TPM_CAP_COMMANDS.

The row's function is the one of the command's name (`PCR_Extend`: `pcr_extend`) in the module of
`families` that the row stands under. A row without a function is a command that this TPM does not
have (`TPM_RC_COMMAND_CODE`).
"""

from __future__ import annotations

import importlib
import importlib.util
import keyword
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tpm.tpm20.codec import Reader, Writer, codec
from tpm.tpm20.constants import CC, ROLE, TPMA_CC

Handler = Callable[..., "tuple[Any, ...] | None"]


class Row(NamedTuple):
    """One command, as part 3 declares it. `handles` gives a type, or a type and a role."""

    name: str
    handles: dict[str, Any]
    parameters: dict[str, Any]
    returns: dict[str, Any]
    nv: bool = False
    """It may write to non-volatile memory."""
    extensive: bool = False
    """It may flush any number of loaded contexts."""
    flushed: bool = False
    """It flushes the context of its first or last handle when it ends."""
    handle_out: bool = False
    """The response has a handle: the first value that the function returns."""
    no_sessions: bool = False
    """TPM_ST_SESSIONS is an error."""
    trial: bool = False
    """Its policy session may be a trial session."""
    pp: bool = False
    """Physical presence can be required for it (TPM2_PP_Commands)."""


class Command(NamedTuple):
    """A row prepared for the dispatcher."""

    code: int
    name: str
    function: Handler
    handles: tuple[Reader, ...]
    roles: tuple[int, ...]
    auth_count: int
    parameters: tuple[Reader, ...]
    returns: tuple[Writer, ...]
    handle_out: bool
    takes_sessions: bool
    can_decrypt: bool
    can_encrypt: bool
    flushed: bool
    pp: bool
    attributes: int
    """TPMA_CC."""


_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def function_name(command: str) -> str:
    """The name of a command's function: `HierarchyChangeAuth` is `hierarchy_change_auth`.

    Where that is a word of Python's, an underscore follows: `Import` is `import_`.
    """
    name = _BOUNDARY.sub("_", command).lower()
    return name + "_" if keyword.iskeyword(name) else name


def _typed(handle: Any) -> tuple[Reader, int]:
    kind, role = handle if isinstance(handle, tuple) else (handle, ROLE.NONE)
    return codec(kind).read, role


def _tpm2b_first(types: dict[str, Any]) -> bool:
    return bool(types) and codec(next(iter(types.values()))).tpm2b


def _attributes(row: Row, code: int) -> int:
    flags = (
        (row.nv, TPMA_CC.NV),
        (row.extensive, TPMA_CC.EXTENSIVE),
        (row.flushed, TPMA_CC.FLUSHED),
        (row.handle_out, TPMA_CC.R_HANDLE),
    )
    bits = sum(bit for is_set, bit in flags if is_set)
    return code | bits | len(row.handles) << TPMA_CC.HANDLES_SHIFT


def _prepare(row: Row, function: Handler) -> Command:
    code = getattr(CC, row.name)
    handles = [_typed(handle) for handle in row.handles.values()]
    roles = tuple(role for _, role in handles)
    return Command(
        code=code,
        name=row.name,
        function=function,
        handles=tuple(reader for reader, _ in handles),
        roles=roles,
        auth_count=sum(role != ROLE.NONE for role in roles),
        parameters=tuple(codec(kind).read for kind in row.parameters.values()),
        returns=tuple(codec(kind).write for kind in row.returns.values()),
        handle_out=row.handle_out,
        takes_sessions=not row.no_sessions,
        can_decrypt=_tpm2b_first(row.parameters) and not row.no_sessions,
        can_encrypt=_tpm2b_first(row.returns) and not row.no_sessions,
        flushed=row.flushed,
        pp=row.pp,
        attributes=_attributes(row, code),
    )


def load(table: dict[str, tuple[Row, ...]]) -> dict[int, Command]:
    """The implemented commands of a table by code, in ascending order."""
    commands = []
    for family, rows in table.items():
        path = f"tpm.tpm20.families.{family}"
        if importlib.util.find_spec(path) is None:
            continue
        module = importlib.import_module(path)
        for row in rows:
            function = getattr(module, function_name(row.name), None)
            if function is not None:
                commands.append(_prepare(row, function))
    return {command.code: command for command in sorted(commands)}
