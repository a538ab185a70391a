"""What a training shows and records of itself."""
