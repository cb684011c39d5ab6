"""Brings what a study needs: photos, each by its address, and checkpoints; see `actions.fetch`."""
