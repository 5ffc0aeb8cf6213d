"""Programs for contributors: build, lock, check, demonstrate, measure."""
