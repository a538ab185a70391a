"""What the exported files cost, and the report of it."""
