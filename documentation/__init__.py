"""What is generated in the documentation: command pages from the command line, tables from recorded results.

`python -m documentation` writes it again, and `tests/test_documentation.py` fails if that was forgotten. The pictures
that take a trained run are written by `python -m documentation.pictures`.
"""
