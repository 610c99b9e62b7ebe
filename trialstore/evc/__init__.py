"""Versions of experiments: what changed from one to the next, and whose trials count for whom. Values alone."""
