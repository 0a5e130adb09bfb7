"""Corpora and tokenizers, and random numbers that are the same everywhere; free of torch."""
