"""The Router's head, its examples, and its card (``card.md``)."""
