"""Moving rows from the journal into parts, and many parts into few, beside live writers."""
