"""ACPI tables: what the guest's system is told about its board.

``aml.py`` encodes the little of the ACPI Machine Language that is needed, ``tables.py`` builds the
tables.  They describe the board as ``vmm/board.py`` wires it, and change when it does.
"""
