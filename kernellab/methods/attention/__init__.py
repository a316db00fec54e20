"""Part 14: attention as a kernel, and how to make it cheap."""
