"""Frozen models: where they come from, how they read words, what is special about each library."""
