"""What a maker of TPMs does before one leaves the factory: endorsement keys and their certificates.

A certificate says that an endorsement key (EK) lives in a genuine TPM.  A verifier that trusts its
issuer can make a credential that only this TPM can open, and so learn which attestation keys are
the TPM's own (TPM 2.0 part 1, 24).  Without one, a virtual TPM could be anybody's program.

Everything is done with commands, so any TPM 2.0 can be manufactured, and a TPM's process never
sees the issuer's key:

* ``profile``: which keys there are, and where their certificates lie,
* ``client``: the commands,
* ``issuer``, ``certificate``: who certifies, and what,
* ``steps``: the order of things.

The profile is the TCG EK Credential Profile for TPM Family 2.0, version 2.4.
"""

from __future__ import annotations

from tpm.manufacture.client import ManufactureError
from tpm.manufacture.steps import Endorsed, Options, is_manufactured, manufacture, powered

__all__ = ["Endorsed", "ManufactureError", "Options", "is_manufactured", "manufacture", "powered"]
