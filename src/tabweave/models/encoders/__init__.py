"""From token ids to a vector per chunk."""
