"""What the function costs, as ratios: `python -m scripts.bench` (or `make bench`) measures all of it in one run."""
