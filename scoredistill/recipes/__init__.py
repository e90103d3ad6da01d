"""Recipes: a run as one complete, typed value, the presets that return one, and what is built from it."""
