"""How good the model is: metrics, intervals, honest baselines, curves, predictions."""
