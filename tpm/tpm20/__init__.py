"""A TPM 2.0 (TCG library specification 1.59) as a library without input or output: see README."""

from tpm.tpm20.engine import Tpm
from tpm.tpm20.state import State, StateError

__all__ = ["State", "StateError", "Tpm"]
