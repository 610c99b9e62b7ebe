"""Reading a store: frozen snapshots, SQL by DuckDB, frames by Polars."""
