"""Processes that try to break out of the sandbox of the host machine, and what must become of them.

``registry`` has the table of attacks, ``attacks/`` the attacks, by what they go for; ``born/`` and
``turned/`` are the two programs that carry them out, ``victim/`` is whom they are after; ``rig``
boots a system of them and looks at everything that an attack could have changed.
"""
