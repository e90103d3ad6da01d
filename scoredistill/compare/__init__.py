"""Comparison of many runs: one offline page, and a table for machines."""
