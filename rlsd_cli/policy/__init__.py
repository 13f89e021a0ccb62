"""Weights, tokenizers, teachers, and log-probabilities without the vocabulary tensor."""
