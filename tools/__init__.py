"""What people run on the host: the command line, the shell, measurements and views of a system.

Tools may import everything; nothing imports them.
"""
