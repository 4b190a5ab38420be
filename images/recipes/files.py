"""Images that are files of Debian's packages, as they are there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from images import cache
from images.recipes import RecipeError, manifest
from images.recipes.packages import downloading, ensure_lists, offered, unpack

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
            package = offered(each)
            say(downloading(package))
            roots[each] = unpack(package, Path(scratch))
            versions[each] = package.version
        files = {}
        for file, (each, source) in sources.items():
            try:
                files[file] = (roots[each] / source).read_bytes()
            except OSError:
                raise RecipeError(f"the package {each} has no {source}") from None
        manifest.write(fresh, files, version, versions)
    return path
