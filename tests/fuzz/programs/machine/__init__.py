"""The VMM's control service in front of a board that is switched off."""
