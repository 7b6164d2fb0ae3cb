"""What happens to one task, from words to action."""
