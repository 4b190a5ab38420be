"""The dispatch table: each call of ``kernel.abi.CALLS`` and the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kernel import capability, device, endpoint, frame, notification, space, thread
from kernel.abi import CALLS

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.thread import Thread

Handler = Callable[..., None]

_MODULES: Final = (endpoint, notification, capability, space, frame, thread, device)
_RENAMED: Final[dict[str, Handler]] = {"map": frame.map_frame}


def _find(name: str) -> Handler:
    if name in _RENAMED:
        return _RENAMED[name]
    handlers = [getattr(module, name) for module in _MODULES if hasattr(module, name)]
    functions = [found for found in handlers if callable(found)]
    assert len(functions) == 1, f"system call {name} needs exactly one handler"
    return functions[0]  # type: ignore[no-any-return]


HANDLERS: Final[tuple[Handler, ...]] = tuple(_find(spec.name) for spec in CALLS)
"""The handler of each call, by number."""


def dispatch(kernel: Kernel, caller: Thread, request: list[Any]) -> None:
    """Carry out a checked request; raises ``Refused``."""
    HANDLERS[request[0]](kernel, caller, *request[1:])
