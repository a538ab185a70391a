"""Files whole or absent, their records and restricted readers, and who may touch them."""
