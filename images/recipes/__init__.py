"""How images of other people's systems are made, each from its distributor's own packages.

A recipe is a module with ``NAME`` (the image's folder in the cache), ``SUMMARY``, ``FILES`` (what
is in it when it is finished), ``is_current()`` (whether the image there is one that this recipe
would make) and ``fetch(say)``, which makes it and tells its steps to ``say``.  A recipe raises
``RecipeError`` with one sentence that says what is missing and what to do.
"""

from __future__ import annotations


class RecipeError(Exception):
    """An image cannot be made; the text says why and what to do."""
