"""Who can affect whom: components, their influence on one another, and what follows from it."""
