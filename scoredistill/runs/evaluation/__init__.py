"""What is measured of runs: which metrics, on which views, and the networks and references that they need."""
