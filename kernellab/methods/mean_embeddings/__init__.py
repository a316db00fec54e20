"""Part 03: comparing, sampling and compressing clouds of points."""
