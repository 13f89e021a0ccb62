"""The rules by which an answer is found; `rlsd_verifiers.extract` puts them in order."""
