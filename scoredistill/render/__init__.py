"""Rendering as functions without state."""
