"""Training: one LightningModule around a plain model, started once per run."""
