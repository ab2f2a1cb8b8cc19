"""Many questions about many videos: read ahead, answered by one open model, written down so that nothing is lost."""
