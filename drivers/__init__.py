"""User-mode drivers, one a folder: each holds one device of the machine and offers an interface.

A driver asks the kernel for every privileged operation on its device.  Drivers import the runtime
and nothing else of Cloister; they know neither guests nor policy.
"""
