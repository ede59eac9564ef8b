"""Classification metrics and parity with the reference model."""
