"""Data set layouts, splits, the decoded cache and the built-in phantom data set."""
