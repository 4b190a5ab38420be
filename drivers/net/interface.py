"""The interface of a link: Ethernet frames through packet streams, both ways.

A client attaches one stream.  Its packets:

=========  ==================================================================================
SEND       transmit the frames in ``length`` bytes of the data area; answered when that is free
RECEIVE    fill ``length`` bytes of the data area with frames that arrive; answered with as many
           bytes as were filled, when there are any
=========  ==================================================================================

Frames that find no room are lost, as on every Ethernet, and so are those on their way when either
side ends.  In the data area frames are as ``drivers.net.frames`` says.
"""

from __future__ import annotations

from typing import Final

from servers.runtime import Interface, Notification
from servers.runtime.stream import StreamOffer

SEND: Final = 0
RECEIVE: Final = 1


class Link(Interface):
    """What one can plug a cable into."""

    def attach(self, port: int, offer: StreamOffer) -> Notification:
        """Attach a stream to one of the caller's ports, in place of one that was there.

        Returns the notification to signal after putting requests.
        """

    def attend(self, port: int) -> None:
        """Wait until that port has no stream attached, because the service gave it up.

        A call that ends with ``ServerDied`` says the same.
        """
