"""Acting on a screen: skills that open programs, type, save, click and read."""
