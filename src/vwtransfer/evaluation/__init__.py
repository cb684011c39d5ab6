"""Measuring words, in their own model and carried to the others."""
