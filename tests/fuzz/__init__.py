"""What comes from outside may be anything: promises that must hold for every sequence of bytes.

A *target* is a function of bytes that raises only if a promise is broken.  The bytes are a script:
``Source`` reads decisions from them, and when they are used up every decision is the first choice.
So one and the same target is run by hypothesis, by a fuzzer that measures coverage
(``atheris_run``), and over the corpus: ``corpus/TARGET/STORY`` is a file of bytes that once broke
the promise, or reaches a place that is hard to reach.
"""
