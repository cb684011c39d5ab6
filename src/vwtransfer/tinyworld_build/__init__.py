"""Trains the models of the tiny world; using them needs nothing of this."""
