"""Typed Parquet parts: the schemas of the tables, exact conversion both ways, and merging."""
