"""The display server: the pictures of many guests, each under a bar that says whose it is."""
