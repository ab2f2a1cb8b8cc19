"""Scores one reply against the right answer: answer extraction, verdicts, overlap of times, rewards. No torch."""
