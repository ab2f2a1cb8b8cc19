"""`vt train`: SFT and GRPO on videos by recipe (docs/train.md). `tiny` makes the embedded demo model from nothing."""
