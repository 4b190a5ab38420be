"""The terminal driver: the input and output of whoever sits in front of the machine."""
