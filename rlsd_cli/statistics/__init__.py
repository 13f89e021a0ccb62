"""Rates with intervals, differences with intervals, and how many of them to believe."""
