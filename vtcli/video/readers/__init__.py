"""The readers, which extract a plan's pictures from a file, one module each; `base` defines what they share."""
