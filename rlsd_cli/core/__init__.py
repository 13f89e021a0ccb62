"""The science: pure functions of tensors, from verifier scores to the scalar loss."""
