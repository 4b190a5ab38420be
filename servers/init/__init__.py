"""The root task: creates the system from its description, and restarts what dies."""
