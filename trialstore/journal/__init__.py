"""The journal: commands in a total order, folded into one state that every process agrees on."""
