"""What `tools/fuzz.py`, `tools/kill.py` and `tools/flips.py` share: commands in forked children, damage, comparison."""
