"""The demo: a real tuning job on a real table, with the core dependencies alone."""
