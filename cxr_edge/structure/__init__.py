"""What the bytes of a TFLite or ONNX file say, with every offset and length checked, before a runtime parses them."""
