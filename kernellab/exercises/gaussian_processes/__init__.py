"""Exercises of part 05, gaussian_processes."""
