"""What a contributor runs: build, lock, check, demonstrate, measure."""
