"""Scalable Vector Graphics: elements as text, drawings, and PNG made of them.

Everything drawn can be told apart without colour: by lightness, pattern, outline and words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Final

from tools.errors import UserError

FONT: Final = "DejaVu Sans, Verdana, Arial, sans-serif"
INK: Final = "#1a1a1a"
SIZE: Final = 12
"""Of the letters, in pixels."""
_PNG_ZOOM: Final = 2
_FONTS: Final = ("/usr/share/fonts", "/usr/local/share/fonts")


def width_of(text: str, size: int = SIZE) -> float:
    """About how wide a text is, in pixels."""
    return len(text) * size * 0.62


def element(name: str, inside: str = "", /, **attributes: object) -> str:
    """One element; ``stroke_width=1`` is the attribute ``stroke-width``."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{listed}>{inside}</{name}>" if inside else f"<{name}{listed}/>"


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def text(x: float, y: float, words: str, **attributes: object) -> str:
    return element("text", escape(words), x=x, y=y, **({"fill": INK} | attributes))


def title(words: str) -> str:
    """What is shown when somebody points at the element around it."""
    return element("title", escape(words))


def drawing(width: float, height: float, parts: Iterable[str], definitions: str = "") -> str:
    """A whole picture, on white."""
    style = f"font-family:{FONT};font-size:{SIZE}px"
    inside = element("rect", width=width, height=height, fill="white") + "".join(parts)
    return element(
        "svg",
        element("defs", definitions) * bool(definitions) + inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_plain(float(width))} {_plain(float(height))}",
        width=float(width),
        height=float(height),
        style=style,
    )


PATTERNS: Final[Mapping[str, str]] = {
    "solid": "",
    "diagonal": "M-2 2 L2 -2 M0 8 L8 0 M6 10 L10 6",
    "backward": "M-2 6 L2 10 M0 0 L8 8 M6 -2 L10 2",
    "cross": "M0 4 L8 4 M4 0 L4 8",
    "dots": "M2 2 h1 v1 h-1 z M6 6 h1 v1 h-1 z",
    "lines": "M0 4 L8 4",
    "columns": "M4 0 L4 8",
}
"""Pattern -> its strokes in a square of eight pixels."""


def pattern(name: str, colour: str) -> str:
    """The definition of a fill ``url(#NAME)``: a colour with a pattern on it."""
    inside = element("rect", width=8, height=8, fill=colour)
    if PATTERNS[name]:
        inside += element("path", d=PATTERNS[name], stroke=INK, stroke_width=0.7, fill="none")
    return element("pattern", inside, id=name, width=8, height=8, patternUnits="userSpaceOnUse")


def save(picture: str, path: Path) -> None:
    """Write a picture as its name's ending says; raises ``UserError`` if that is not possible."""
    kinds = {".svg": lambda: picture.encode(), ".png": lambda: png(picture)}
    if path.suffix not in kinds:
        raise UserError(f"{path}: a picture's name ends in {' or '.join(kinds)}")
    write(path, kinds[path.suffix]())


def write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def png(picture: str) -> bytes:
    """A picture in pixels, for which this machine needs a font."""
    import resvg_py  # slow to load, and rarely wanted

    if not any(next(Path(folder).rglob("*.[to]tf"), None) for folder in _FONTS):
        raise UserError("there are no fonts for a PNG; write .svg, or apt-get install fonts-dejavu")
    return bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=_PNG_ZOOM))
