"""From a log of model calls to a small model that takes them over; ``profile`` is the first step.

Rows are handed in; nothing here reads the ledger or a file of its own accord.
"""
