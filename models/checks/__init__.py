"""What ``aidecamp doctor`` looks at. Each check is a plain look at programs, files and libraries,
needs nothing from the runtime, and works where the rest is broken."""
