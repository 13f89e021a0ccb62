"""Evaluation: rollouts to scores, with intervals in which problems are the sampling unit."""
