"""Exercises of part 01, ridge_regression."""
