"""Evaluation: an independent recognition network for Toybox images (the judge), metrics, and tables of runs."""
