"""Values without I/O: statuses, metrics, spaces, identifiers, the exact JSON encoding and the errors."""
