"""What this repository trained: one folder each, with its card."""
