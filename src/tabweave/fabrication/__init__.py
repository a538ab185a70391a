"""Seeded demo data: threads between buyers and sellers, with their orders and labels.

The label needs the text and the table together. A request for a gift card is abusive,
the advice not to pay by gift card is not; "the parcel never arrived" is abusive when a
new account says so and the parcel was delivered, and an ordinary complaint otherwise.
"""

from __future__ import annotations

from tabweave.fabrication.splits import (
    COLUMNS,
    FabricationConfig,
    fabricate,
    fabricate_split,
)

__all__ = ["COLUMNS", "FabricationConfig", "fabricate", "fabricate_split"]
