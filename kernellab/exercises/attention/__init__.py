"""Exercises of part 14, attention."""
