"""User mode's own servers, and the runtime that every user-mode process links.

Each server is a folder with its README, its interface and its program.  Servers hold no authority
but the capabilities that the system description routes to them; of the kernel they may import
``kernel.abi`` alone.
"""
