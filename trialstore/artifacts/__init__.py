"""Artifacts: bytes and common objects that trials leave behind, in the store's own bucket."""
