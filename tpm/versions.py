"""The TPMs that there are, by version; each is imported when one is made."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Final, cast

from tpm.instance import Storage
from tpm.interface import Tpm, TpmError, Version

_MODULES: Final[dict[Version, str]] = {"2.0": "tpm.instance", "1.2": "tpm.tpm12.instance"}
"""Each has a class ``Instance``, made from a function that opens its storage, and a ``log``."""
NAMES: Final[dict[Version, str]] = {"2.0": "tpm2", "1.2": "tpm12"}
"""How the files of an instance's state begin."""


def available() -> list[Version]:
    """The versions that can be made."""
    found: list[Version] = []
    for version, module in _MODULES.items():
        package = module.rpartition(".")[0]
        if importlib.util.find_spec(package) and importlib.util.find_spec(module):
            found.append(version)
    return found


def make(version: Version, storage: Callable[[], Storage], log: Callable[[str], None]) -> Tpm:
    """A TPM without power; raises ``TpmError`` if there is none of that version."""
    try:
        module = importlib.import_module(_MODULES[version])
    except ModuleNotFoundError as error:
        if error.name is None or not _MODULES[version].startswith(error.name):
            raise
        raise TpmError(f"there is no TPM {version} in this Cloister") from None
    return cast(Tpm, module.Instance(storage, log=log))
