"""Benchmarks, scores with their uncertainty, comparisons and reports. No torch."""
