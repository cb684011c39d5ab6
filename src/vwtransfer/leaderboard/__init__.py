"""Ranks transfer methods: every one maps the same words."""
