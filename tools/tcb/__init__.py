"""The trusted code base: who a process has to trust, and how much code that is."""
