"""Virtio devices over PCI (OASIS, Virtual I/O Device Version 1.1), without the legacy interface.

``queue.py`` is the split virtqueue, ``pci.py`` the transport, ``device.py`` what every device kind
has in common, and each other file is one kind of device.
"""
