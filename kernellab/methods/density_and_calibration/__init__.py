"""Part 04: densities, calibrated predictions and causes."""
