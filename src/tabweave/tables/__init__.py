"""A user's files: formats, parts, headers and cells, read as typed tables."""
