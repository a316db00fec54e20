"""Exercises of part 02, random_features."""
