"""Part 16: pictures and scenes made of kernels."""
