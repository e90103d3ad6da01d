"""Experiment trackers that a run also logs to: its rows, pictures and settings, by the trackers' libraries."""

from scoredistill.runs.trackers.tracked import Trackers, check_installed

__all__ = ["Trackers", "check_installed"]
