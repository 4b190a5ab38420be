"""The console server: many consoles share one terminal, with a way out that no guest can block."""
