"""Runs in the browser: a finished one, one of another process by its checkpoints, and one while it trains."""
