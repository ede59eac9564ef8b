"""One file a runtime behind one small protocol."""
