"""The shell: a running system at a prompt."""
