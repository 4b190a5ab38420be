"""Images that are files of Debian's packages, as they are there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from images import cache
from images.recipes import RecipeError
from images.recipes.packages import ensure_lists, find, unpack

Sources = Mapping[str, tuple[str, str]]
"""File -> the package that has it, and where."""


def take(name: str, version: str, sources: Sources, say: Callable[[str], None]) -> Path:
    """Take an image's files out of the packages that apt offers; returns their folder.

    ``version`` is of the recipe.
    """
    say("looking for the packages")
    packages = sorted({package for package, _ in sources.values()})
    ensure_lists(packages[0])
    path = cache.image(name)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        roots, versions = {}, {}
        for each in packages:
            package = find(each)
            if package is None:
                raise RecipeError(
                    f"apt offers no package {each}; run 'apt-get update' and try again"
                )
            say(f"downloading {each} {package.version}, {package.size / 1e6:.1f} MB")
            roots[each] = unpack(package, Path(scratch))
            versions[each] = package.version
        files = {}
        for file, (each, source) in sources.items():
            try:
                files[file] = (roots[each] / source).read_bytes()
            except OSError:
                raise RecipeError(f"the package {each} has no {source}") from None
        manifest = {
            "recipe": version,
            "packages": versions,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
        for file, data in files.items():
            cache.write(fresh / file, data)
    return path


def is_taken(name: str, version: str) -> bool:
    """Whether the files in the cache are those of this recipe."""
    try:
        manifest = json.loads((cache.image(name) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("recipe") == version
