"""What a tool may ask of this TPM without speaking to it."""

from __future__ import annotations

from typing import Any

INFO: dict[str, Any] = {
    "TPMSpecification": {"family": "2.0", "level": 0, "revision": 159},
    "TPMAttributes": {
        "manufacturer": "id:434C4F49",
        "version": "id:00010000",
        "model": "Cloister",
    },
}
"""The manufacturer's facts that go into an EK certificate."""
