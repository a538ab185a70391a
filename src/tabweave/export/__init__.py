"""Export: one ONNX file that says what the model says, or an error."""
