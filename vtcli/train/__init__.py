"""Training. `tiny` makes the embedded demo model from nothing."""
