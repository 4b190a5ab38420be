"""The scheduler: CPU time for virtual machines by weight, as Xen's credit scheduler gives it.

The kernel has priorities and budgets; who gets which is policy, and this is one.  It reads what
each virtual machine has used and says who is favoured; without it, the host's own scheduler
decides.
"""
