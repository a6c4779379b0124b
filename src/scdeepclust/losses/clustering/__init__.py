"""What makes cells of one cluster alike."""
