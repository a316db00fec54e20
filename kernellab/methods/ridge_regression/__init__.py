"""Part 01: kernel ridge regression and its neighbours."""
