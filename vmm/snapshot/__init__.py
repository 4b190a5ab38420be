"""A guest's state: taken, written down, and gone on with.

`state.py` takes the state of devices out of them and puts it back, `machine.py` does so for a whole
board, `format.py` is the file.
"""
