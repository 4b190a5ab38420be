"""A program that turns hostile while it runs, as a driver does whose bug somebody exploits."""
