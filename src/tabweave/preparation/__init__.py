"""From the raw record to what the model reads."""
