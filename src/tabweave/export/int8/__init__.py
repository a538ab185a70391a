"""Files of 8-bit integers."""
