"""Packed batches of rows, and the order in which rows come."""
