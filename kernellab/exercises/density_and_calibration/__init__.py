"""Exercises of part 04, density_and_calibration."""
