"""The built page of `cxr-edge web`: data, and no code."""
