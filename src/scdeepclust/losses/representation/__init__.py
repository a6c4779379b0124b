"""What the embedding must keep about a cell."""
