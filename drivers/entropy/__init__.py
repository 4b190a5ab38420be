"""The entropy driver: the random numbers of the machine."""
