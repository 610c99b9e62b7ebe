"""The figures that trialstore must reach, each beside its peer. `python -m benchmarks` prints them."""
