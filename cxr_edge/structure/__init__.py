"""The structure of TFLite and ONNX files, read with every offset and length checked, before a runtime parses them."""
