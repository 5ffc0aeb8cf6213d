"""Measurements of the function as ratios: `python -m scripts.bench` (or `make bench`) runs all of them."""
