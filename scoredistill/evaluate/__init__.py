"""Judging what came out: an independent judge of Toybox pictures, metrics, and tables of runs."""
