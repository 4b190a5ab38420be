"""From a command's octets to its response's (part 3, 5).

The order of the checks decides which of several errors in a command is reported, and is part 3's:
header, mode, handle area, session area, authorizations, parameter decryption, parameters, and then
what the command's own function checks. `run` raises `TpmError` for each of them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tpm.tpm20 import audit, authorization, entities
from tpm.tpm20.commands import Command, load
from tpm.tpm20.constants import CC, MAX_COMMAND_SIZE, RC, ST, H, P, TpmError, about
from tpm.tpm20.sessions import Hashes
from tpm.tpm20.table import TABLE

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

COMMANDS = load(TABLE)
"""Every implemented command by its code, in ascending order."""

_header = struct.Struct(">HII")
_unpack_header = _header.unpack_from
_pack_header = _header.pack
_unpack_u32 = struct.Struct(">I").unpack_from

_MINIMUM_SESSION = 9


def error_response(code: int) -> bytes:
    """A response of ten octets."""
    return _pack_header(ST.NO_SESSIONS, 10, code)


def run(tpm: Tpm, octets: bytes) -> bytes:
    """The response to a command; raises `TpmError`."""
    command, tag = _command(tpm, octets)
    tpm.command_code = command.code
    handles, at = _handles(tpm, command, octets)
    if tag == ST.SESSIONS:
        return _run_with_sessions(tpm, command, handles, octets, at)
    if command.auth_count:
        raise TpmError(RC.AUTH_MISSING)
    parameters = octets[at:]
    audited = command.code in tpm.state.audit_commands
    if audited:
        hashes = Hashes(tpm, command.code, handles, parameters)
        audit.prepare(tpm, hashes)
    values = command.function(tpm, *handles, *_parameters(command, parameters))
    handle, answer = _answer(command, values)
    if command.takes_sessions:
        tpm.exclusive_session = 0
    if audited:
        audit.record(tpm, hashes, answer)
    body = handle + answer
    return _pack_header(ST.NO_SESSIONS, 10 + len(body), RC.SUCCESS) + body


def _command(tpm: Tpm, octets: bytes) -> tuple[Command, int]:
    if len(octets) < _header.size:
        raise TpmError(_short_header(octets))
    tag, size, code = _unpack_header(octets)
    if tag not in (ST.NO_SESSIONS, ST.SESSIONS):
        raise TpmError(RC.BAD_TAG)
    if size != len(octets) or size > MAX_COMMAND_SIZE:
        raise TpmError(RC.COMMAND_SIZE)
    command = COMMANDS.get(code)
    if command is None:
        raise TpmError(RC.COMMAND_CODE)
    if tpm.started == (code == CC.Startup):
        raise TpmError(RC.INITIALIZE)
    return command, tag


def _short_header(octets: bytes) -> int:
    if len(octets) >= 2 and octets[:2] not in (b"\x80\x01", b"\x80\x02"):
        return RC.BAD_TAG
    if len(octets) >= 6 and octets[2:6] != len(octets).to_bytes(4, "big"):
        return RC.COMMAND_SIZE
    return RC.INSUFFICIENT


def _handles(tpm: Tpm, command: Command, octets: bytes) -> tuple[list[int], int]:
    """The handle area: types first, then whether each handle stands for something."""
    handles: list[int] = []
    at = 10
    try:
        for read in command.handles:
            handle, at = read(octets, at)
            handles.append(handle)
    except struct.error:
        raise TpmError(RC.INSUFFICIENT + H(len(handles) + 1)) from None
    except TpmError as error:
        raise TpmError(about(error.code, H(len(handles) + 1))) from None
    for index, handle in enumerate(handles):
        entities.check(tpm, handle, index + 1)
    return handles, at


def _parameters(command: Command, octets: bytes) -> list[Any]:
    values: list[Any] = []
    at = 0
    try:
        for read in command.parameters:
            value, at = read(octets, at)
            values.append(value)
    except struct.error:
        raise TpmError(RC.INSUFFICIENT + P(len(values) + 1)) from None
    except TpmError as error:
        raise TpmError(about(error.code, P(len(values) + 1))) from None
    if at != len(octets):
        raise TpmError(RC.SIZE)
    return values


def _answer(command: Command, values: tuple[Any, ...] | None) -> tuple[bytes, bytes]:
    """The response's handle area and its parameters."""
    if values is None:
        return b"", b""
    handle = b""
    if command.handle_out:
        handle = values[0].to_bytes(4, "big")
        values = values[1:]
    if len(values) == 1:
        return handle, command.returns[0](values[0])
    writers = zip(command.returns, values, strict=True)
    return handle, b"".join([write(value) for write, value in writers])


def _run_with_sessions(
    tpm: Tpm, command: Command, handles: list[int], octets: bytes, at: int
) -> bytes:
    if len(octets) < at + 4:
        raise TpmError(RC.INSUFFICIENT)
    size = _unpack_u32(octets, at)[0]
    at += 4
    end = at + size
    if size < _MINIMUM_SESSION or end > len(octets):
        raise TpmError(RC.SIZE)
    if not command.takes_sessions:
        raise TpmError(RC.AUTH_CONTEXT)
    area = authorization.parse(tpm, command, octets[at:end])
    parameters = octets[end:]
    hashes = Hashes(tpm, command.code, handles, parameters)
    authorization.authorize(tpm, command, area, handles, hashes)
    audit.prepare(tpm, hashes)
    if area.decrypt is not None:
        parameters = authorization.decrypt_parameter(tpm, area, parameters)
    arguments = _parameters(command, parameters)
    kept = authorization.kept_auth(tpm, command, area)
    values = command.function(tpm, *handles, *arguments)
    handle, answer = _answer(command, values)
    answer, session_area = authorization.respond(tpm, area, hashes, answer, kept)
    body = handle + len(answer).to_bytes(4, "big") + answer + session_area
    return _pack_header(ST.SESSIONS, 10 + len(body), RC.SUCCESS) + body
