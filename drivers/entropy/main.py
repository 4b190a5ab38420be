"""The entropy driver: the random numbers of the host's kernel."""

from __future__ import annotations

from drivers.entropy.interface import MOST, Entropy
from servers.runtime import BadRequest, Device, Environment, Failed


class EntropyDriver(Entropy):
    """The service.  Keeps nothing: what one client got, no other can."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def read(self, size: int) -> bytes:
        if not 1 <= size <= MOST:
            raise BadRequest(f"read: size is between 1 and {MOST} bytes, not {size}")
        data = b""
        while len(data) < size:
            try:
                more = self._device.access.read(size - len(data))
            except OSError as error:
                raise Failed(f"the random device failed: {error.strerror}") from None
            if not more:
                raise Failed("the random device has ended")
            data += more
        return data


def main(env: Environment) -> None:
    """Serve the device ``random``."""
    env.serve(EntropyDriver(env.device("random", writable=False)), on="entropy")
