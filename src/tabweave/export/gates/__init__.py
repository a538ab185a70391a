"""What must hold before a file is exported."""
