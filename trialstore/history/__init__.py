"""Histories: the reports of many trials as one frame, ranked, filtered and grouped without a loop over them."""
