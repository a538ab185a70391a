"""The preparation of raw rows as operators of ONNX."""
