"""The attacks, by what they go for; importing this fills ``registry.ATTACKS``."""

from tests.hostile.attacks import (
    answers,
    capabilities,
    channels,
    descriptors,
    exhaustion,
    files,
    frames,
    memory,
    messages,
    network,
    privileges,
    processes,
    programs,
    threads,
)

__all__ = [
    "answers",
    "capabilities",
    "channels",
    "descriptors",
    "exhaustion",
    "files",
    "frames",
    "memory",
    "messages",
    "network",
    "privileges",
    "processes",
    "programs",
    "threads",
]
