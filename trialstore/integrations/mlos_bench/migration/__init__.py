"""Experiments from databases of mlos_bench into stores, and back."""
