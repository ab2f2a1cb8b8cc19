"""Many questions about many videos: read ahead, answered by one loaded model, and recorded so that nothing is lost."""
