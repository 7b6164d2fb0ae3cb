"""The shell: typed command recipes, a parser that classes risk, and a sandbox to run in."""
