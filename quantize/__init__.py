"""Make a model small, and measure what that cost."""
