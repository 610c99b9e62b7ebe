"""Reports as mappings and as frames, and back: the columns of the `trials` table, or AMLTK's with their prefixes."""
