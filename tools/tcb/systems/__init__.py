"""Where graphs of authority come from: descriptions, running systems, models, other systems."""
