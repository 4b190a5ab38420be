"""``cloister images``: list, build and fetch the images that guests boot from."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, cast

from images import cache, guests
from images.recipes import RecipeError
from tools.errors import UserError

RECIPES: Final = {
    "linux": "images.recipes.debian_cloud",
    "linux-generic": "images.recipes.debian_generic",
    "linux-i386": "images.recipes.debian_i386",
    "linux-tpm": "images.recipes.debian_tpm",
    "seabios": "images.recipes.seabios",
    "boot-media": "images.recipes.boot_media",
    "grub-disk": "images.recipes.grub_disk",
}
"""What ``fetch`` knows: name -> recipe."""
ALIASES: Final = {"debian-cloud": "linux", "debian-tpm": "linux-tpm"}
"""Other names of recipes."""
GUESTS: Final = Path(guests.__file__).parent


class Recipe(Protocol):
    """What a module in ``images/recipes`` has."""

    NAME: str
    SUMMARY: str
    FILES: tuple[str, ...]

    def is_current(self) -> bool:
        """Whether the image in the cache is one that this recipe would make."""

    def fetch(self, say: Callable[[str], None]) -> Path:
        """Make the image; returns its folder."""


class State(NamedTuple):
    """An image as ``list`` shows it."""

    name: str
    how: str
    """``fetch`` or ``build``."""
    status: Literal["ready", "outdated", "absent"]
    size: int
    """Bytes in the cache."""
    path: str
    """A folder or a file; where it is, or where it will be."""
    summary: str

    @property
    def ready(self) -> bool:
        """Whether it can be used as it is."""
        return self.status == "ready"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, and what is ready")
    listing.add_argument("--json", action="store_true", help="for machines")
    building = actions.add_parser("build", help="assemble a guest of our own")
    building.add_argument("name", help="its name, see 'cloister images list'")
    fetching = actions.add_parser("fetch", help="make an image from the distributor's packages")
    fetching.add_argument("name", help="its name, see 'cloister images list'")
    fetching.add_argument("--force", action="store_true", help="make it again if it is ready")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        _print(states(), args.json)
    elif args.action == "build":
        print(guest(args.name))
    else:
        print(fetch(args.name, args.force))
    return 0


def states() -> list[State]:
    """Every image that this Cloister knows."""
    found = []
    for name in RECIPES:
        recipe = _recipe(name)
        path = cache.image(recipe.NAME)
        complete = _complete(recipe)
        status: Literal["ready", "outdated", "absent"] = "ready" if complete else "absent"
        if complete and not recipe.is_current():
            status = "outdated"
        size = sum((path / file).stat().st_size for file in recipe.FILES) if complete else 0
        found.append(State(name, "fetch", status, size, str(path), recipe.SUMMARY))
    for name in _guests():
        path = _guest_file(name)
        summary = f"a guest of our own, from images/guests/{name}; made when it is needed"
        status = "ready" if path.exists() else "absent"
        size = path.stat().st_size if path.exists() else 0
        found.append(State(name, "build", status, size, str(path), summary))
    return found


def _guests() -> list[str]:
    """The guests of our own, found without the assembler, which need not be installed to list."""
    return sorted(folder.name for folder in GUESTS.iterdir() if any(folder.glob("*.asm")))


def guest(name: str) -> Path:
    """The file of a guest of our own; it is assembled if the cache has none of these sources."""
    if name not in _guests():
        raise UserError(f"there is no guest {name!r} of our own; known are {', '.join(_guests())}")
    path = _guest_file(name)
    if not path.exists():
        _say(f"assembling {name}")
        from images.guests import build

        try:
            data = build.build(name)
            cache.write(path, data)
        except build.AssemblyError as error:
            raise UserError(f"guest {name} could not be assembled: {error}") from None
        except OSError as error:
            raise UserError(f"cannot write the image {path}: {error.strerror}") from None
    return path


def _guest_file(name: str) -> Path:
    """Where a guest is kept; the name says from which sources it was made."""
    digest = hashlib.sha256()
    for source in sorted([*GUESTS.glob("*.py"), *(GUESTS / name).glob("*.asm")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return cache.image("guests") / f"{name}-{digest.hexdigest()[:16]}"


def fetch(name: str, force: bool = False) -> Path:
    """Make an image of somebody else's system; returns its folder."""
    recipe = _recipe(name)
    path = cache.image(recipe.NAME)
    if _complete(recipe) and recipe.is_current() and not force:
        return path
    try:
        return recipe.fetch(_say)
    except RecipeError as error:
        raise UserError(f"cannot fetch {name}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot write the image {path}: {error.strerror}") from None


def _say(step: str) -> None:
    """Tell a person, if there is one, what takes the time."""
    if sys.stderr.isatty():
        print(f"cloister: {step}", file=sys.stderr, flush=True)


def _recipe(name: str) -> Recipe:
    module = RECIPES.get(ALIASES.get(name, name))
    if module is None:
        known = ", ".join([*RECIPES, *ALIASES])
        raise UserError(f"there is no recipe for {name!r}; known are {known}")
    return cast(Recipe, importlib.import_module(module))


def _complete(recipe: Recipe) -> bool:
    folder = cache.image(recipe.NAME)
    return all((folder / name).is_file() for name in recipe.FILES)


def _print(found: list[State], as_json: bool) -> None:
    if as_json:
        print(json.dumps([state._asdict() for state in found], indent=2))
        return
    width = max(len(state.name) for state in found)
    for state in found:
        how = f"cloister images {state.how} {state.name}"
        shown = {
            "ready": f"ready, {_readable(state.size)}",
            "outdated": f"out of date, {_readable(state.size)}: {how}",
            "absent": f"not here: {how}",
        }
        print(f"{state.name:{width}}  {shown[state.status]}")
        print(f"{'':{width}}  {state.summary}")


def _readable(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
