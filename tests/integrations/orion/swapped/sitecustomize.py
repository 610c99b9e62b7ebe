"""Imported by every Python process that has this folder on its path: children of the tests are swapped as well."""

import swap

swap.install()
