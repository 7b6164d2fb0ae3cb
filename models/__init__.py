"""Where models come from and how they run. Knows nothing of the other packages."""
