"""The `math` verifier."""
