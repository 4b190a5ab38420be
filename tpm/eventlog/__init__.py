"""Event logs of the TCG: what was measured into which PCR, in which order.

    log = EventLog([SHA1, SHA256])
    log.measure(4, EventType.IPL, kernel, b"kernel")
    for event in parse(log.data).events: ...
    assert replay(events, SHA256)[4] == value of the TPM's PCR 4

PC Client Platform Firmware Profile 1.05, 10 (TPM 2.0); PC Client Implementation Specification for
Conventional BIOS 1.21, 11.3 (TPM 1.2).
"""

from tpm.eventlog.log import (
    DIGEST_SIZES,
    NAMES,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    Event,
    EventLog,
    EventType,
    Log,
    LogError,
    digests_of,
    parse,
    replay,
)

__all__ = [
    "DIGEST_SIZES",
    "NAMES",
    "SHA1",
    "SHA256",
    "SHA384",
    "SHA512",
    "Event",
    "EventLog",
    "EventType",
    "Log",
    "LogError",
    "digests_of",
    "parse",
    "replay",
]
