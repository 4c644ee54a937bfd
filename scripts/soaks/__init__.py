"""Long runs with faults, each with a seed and the oracle at its end. A module here is one line in `scripts/soak.py`."""
