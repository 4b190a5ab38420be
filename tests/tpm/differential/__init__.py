"""The same commands to this TPM 2.0 and to another one, swtpm, until they differ.

A *campaign* is a number of *sequences*, each from a seed of its own and on TPMs that have just
left the factory. A sequence is made while it runs: a `generator` knows from its `world` what there
is on both TPMs and thinks of a command that is mostly sensible, and of one that is not, now and
then. A command is a `step`: it names what earlier steps made instead of repeating their octets,
because keys, nonces and contexts are different on the two sides, and so that a sequence without
some of its steps is a sequence still.

`sides` runs a step on one TPM, `pair` on both and compares. A difference is either one that
`decided` has a row for, or a failure: then `shrink` finds the steps that matter, and the report
has them with the command that repeats it.

    python -m tests.tpm.differential --sequences 500 --seed 1
"""
