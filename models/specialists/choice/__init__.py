"""Temperatures of choices, by model file, and their card (``card.md``)."""
