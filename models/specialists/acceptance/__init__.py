"""Labelled steps, and the scores and thresholds that were calibrated on them (``card.md``)."""
