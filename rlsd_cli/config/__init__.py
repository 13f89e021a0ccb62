"""The one config tree, and where each of its values came from."""
