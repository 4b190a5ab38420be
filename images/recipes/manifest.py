"""What an image was made of, in a file beside its others: so that an outdated one is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from images import cache

FILE: Final = "manifest.json"


def write(
    folder: Path, files: Mapping[str, bytes], recipe: str, packages: Mapping[str, str]
) -> None:
    """Write an image's files, and the manifest; ``packages`` are names with versions."""
    manifest = {
        "recipe": recipe,
        "packages": packages,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    for name, data in files.items():
        cache.write(folder / name, data)
    cache.write(folder / FILE, (json.dumps(manifest, indent=2) + "\n").encode())


def is_of(image: str, recipe: str) -> bool:
    """Whether the image in the cache was made by this recipe."""
    try:
        found = json.loads((cache.image(image) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("recipe") == recipe


def digest(image: str) -> str:
    """What changes with the image in the cache: for recipes of others that are made of it."""
    try:
        data = (cache.image(image) / FILE).read_bytes()
    except OSError:
        data = b""
    return hashlib.sha256(data).hexdigest()[:16]
