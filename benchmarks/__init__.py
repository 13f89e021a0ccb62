"""Measurements: a folder for each question, whose `bench.py` is the program and the name of whose result is its own."""
