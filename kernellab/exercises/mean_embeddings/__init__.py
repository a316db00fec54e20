"""Exercises of part 03, mean_embeddings."""
