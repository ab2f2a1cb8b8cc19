"""The benchmarks: where they come from, how their files are read, what is asked and how they score."""
