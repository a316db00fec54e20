"""Part 05: Gaussian processes: models, approximations, physics and networks."""
