"""What a training saves, and how it goes on from there."""
