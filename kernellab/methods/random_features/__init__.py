"""Part 02: random features and fast kernel sums."""
