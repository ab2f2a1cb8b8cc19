"""`vt train`: SFT and GRPO on videos from a recipe (docs/train.md). `tiny` makes the embedded model from scratch."""
