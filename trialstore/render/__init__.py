"""How things look, on a terminal and in a notebook: pages of plain values, and two ways to show one."""
