"""Runs on the disk: their folder, their checkpoints and log, and what is made of one when it stops."""
