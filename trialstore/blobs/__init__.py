"""Blobs under one root: the only package that knows a storage backend."""
