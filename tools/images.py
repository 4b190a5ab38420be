"""``cloister images``: list, build and fetch the images that guests boot from."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

from images import cache, guests
from images.recipes import RecipeError
from tools.errors import UserError

RECIPES: Final = {"linux": "images.recipes.debian_cloud"}
"""What ``fetch`` knows: name -> recipe."""
GUESTS: Final = Path(guests.__file__).parent


class Recipe(Protocol):
    """What a module in ``images/recipes`` has."""

    NAME: str
    SUMMARY: str
    FILES: tuple[str, ...]

    def fetch(self, say: Callable[[str], None]) -> Path:
        """Make the image; returns its folder."""


class State(NamedTuple):
    """An image as ``list`` shows it."""

    name: str
    how: str
    """``fetch`` or ``build``."""
    ready: bool
    path: str
    """A folder or a file; where it is, or where it will be."""
    summary: str


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
        found.append(State(name, "fetch", _complete(recipe), str(path), recipe.SUMMARY))
    for name in sorted(folder.name for folder in GUESTS.iterdir() if any(folder.glob("*.asm"))):
        path = _guest_file(name)
        summary = f"a guest of our own, from images/guests/{name}; made when it is needed"
        found.append(State(name, "build", path.exists(), str(path), summary))
    return found


def guest(name: str) -> Path:
    """The file of a guest of our own; it is assembled if the cache has none of these sources."""
    if not any((GUESTS / name).glob("*.asm")):
        known = ", ".join(state.name for state in states() if state.how == "build")
        raise UserError(f"there is no guest {name!r} of our own; known are {known}")
    path = _guest_file(name)
    if not path.exists():
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
    return cache.folder() / "guests" / f"{name}-{digest.hexdigest()[:16]}"


def fetch(name: str, force: bool = False) -> Path:
    """Make an image of somebody else's system; returns its folder."""
    recipe = _recipe(name)
    path = cache.image(recipe.NAME)
    if _complete(recipe) and not force:
        return path
    person = sys.stderr.isatty()

    def say(step: str) -> None:
        print(f"cloister: {step}", file=sys.stderr, flush=True)

    try:
        return recipe.fetch(say if person else lambda step: None)
    except RecipeError as error:
        raise UserError(f"cannot fetch {name}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot write the image {path}: {error.strerror}") from None


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"there is no recipe for {name!r}; known are {', '.join(RECIPES)}")
    return cast(Recipe, importlib.import_module(RECIPES[name]))


def _complete(recipe: Recipe) -> bool:
    folder = cache.image(recipe.NAME)
    return all((folder / name).is_file() for name in recipe.FILES)


def _print(found: list[State], as_json: bool) -> None:
    if as_json:
        print(json.dumps([state._asdict() for state in found], indent=2))
        return
    width = max(len(state.name) for state in found)
    for state in found:
        ready = "ready" if state.ready else f"not here: cloister images {state.how} {state.name}"
        print(f"{state.name:{width}}  {ready}")
        print(f"{'':{width}}  {state.summary}")
