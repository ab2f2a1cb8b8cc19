"""Ways to get the pictures of a plan out of a file, one module each; `base` says what they have in common."""
