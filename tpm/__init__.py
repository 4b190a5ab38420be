"""The TPMs: pure engines, and what is built around them.

`tpm20` is a TPM 2.0 (TCG library specification, revision 1.59) as a library: bytes in, bytes out,
no files, no clocks, no global state. A server process, the front ends that existing software
speaks, the persistence of an instance's state and the vTPM manager stand around an engine and
never inside it; a guest has an engine of its own in a process of its own.
"""
