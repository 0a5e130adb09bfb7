"""Corpora: text from anywhere becomes tokens in shards, once, and is read from there."""
