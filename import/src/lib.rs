//! ONNX models to graph IR.
