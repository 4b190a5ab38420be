"""Errors of the kernel and of services, as typed exceptions.

``KernelError`` and its kinds come from system calls.  ``ServiceError`` and its kinds cross between
processes: a service raises one, its client gets one of the same class with the same text.  An
interface adds its own by subclassing; the class's name is what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from kernel.abi import CALLS, Error


class KernelError(Exception):
    """A system call failed."""

    error: ClassVar[Error]
    kinds: ClassVar[dict[int, type[KernelError]]] = {}

    def __init__(self, call: str) -> None:
        super().__init__(f"{call}: {self.error.name.lower().replace('_', ' ')}")
        self.call = call


class BadCapability(KernelError):
    """The capability number names nothing, or not an object of the kind that the call needs."""

    error = Error.BAD_CAPABILITY


class NoRight(KernelError):
    """The capability lacks a right that the call needs."""

    error = Error.NO_RIGHT


class BadArgument(KernelError):
    """An argument is out of its range."""

    error = Error.BAD_ARGUMENT


class NoQuota(KernelError):
    """The memory quota is used up."""

    error = Error.NO_QUOTA


class TimedOut(KernelError):
    """The timeout ended first."""

    error = Error.TIMED_OUT


class ServerDied(KernelError):
    """Whoever was to answer is gone; the call may or may not have been carried out."""

    error = Error.SERVER_DIED


class LabelsDenied(KernelError):
    """The mandatory policy does not let the two sides talk."""

    error = Error.DENIED


class ReceiverFull(KernelError):
    """The receiver has no quota left for the message's capabilities."""

    error = Error.RECEIVER_FULL


class Cancelled(KernelError):
    """What the thread was blocked on was revoked."""

    error = Error.CANCELLED


class InUse(KernelError):
    """The object is bound already."""

    error = Error.IN_USE


class NoDevice(KernelError):
    """The machine could not provide the device: missing, not permitted, or in use elsewhere."""

    error = Error.NO_DEVICE


KernelError.kinds.update({kind.error: kind for kind in KernelError.__subclasses__()})


def raise_kernel_error(request: Sequence[object], error: int) -> NoReturn:
    """Raise the exception for an error of a system call."""
    number = request[0]
    name = CALLS[number].name if isinstance(number, int) else "?"
    raise KernelError.kinds[error](name)


class ServiceError(Exception):
    """A service refused; the text says why."""

    registry: ClassVar[dict[str, type[ServiceError]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        ServiceError.registry[cls.__name__] = cls

    @staticmethod
    def of(name: str, text: str) -> ServiceError:
        """The exception of that name, or a plain ``ServiceError`` where this side lacks it."""
        return ServiceError.registry.get(name, ServiceError)(text)


class BadRequest(ServiceError):
    """The message does not fit the interface; the text names the parameter."""


class NotFound(ServiceError):
    """The service knows nothing under that name."""


class NotPermitted(ServiceError):
    """The session has no right to do that."""


class Busy(ServiceError):
    """It is in use, or cannot be done now."""


class Failed(ServiceError):
    """The service failed; the text is what it knows."""


class ProcessFailed(Exception):
    """Ends the process as failed; the text is a sentence for its supervisor and whoever asks it."""
