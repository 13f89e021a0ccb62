"""Prompts in, rollouts out."""
