"""One reply and the right answer → a score: answer extraction, verdicts, overlap of times, rewards. No torch."""
