"""What a running process holds, and how it ends."""
