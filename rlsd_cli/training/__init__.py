"""The table of methods and the one loop."""
