"""The OpenAI-compatible proxy: what a request says, who serves it, and how the answer reads."""
