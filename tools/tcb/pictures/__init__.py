"""Trusted code bases drawn: as a graph, as bars, and as a page that holds everything."""
