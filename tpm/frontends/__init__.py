"""The protocols by which existing software reaches a TPM over sockets.

``loop.py`` carries bytes, one thread for everything; ``port.py`` is the one TPM behind all
channels; ``data.py`` (raw and mssim-framed commands), ``control.py`` (swtpm's control channel) and
``platform.py`` (mssim's second port) are protocols without sockets, fed by the loop.
"""
