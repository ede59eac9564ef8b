"""The generated parts of the documentation: command pages from the command line, tables from recorded results.

`python -m documentation` regenerates them, and `tests/test_documentation.py` fails if they are out of date. Pictures
that need a trained run are written by `python -m documentation.pictures`.
"""
