"""Responses to verdicts, without a model."""
