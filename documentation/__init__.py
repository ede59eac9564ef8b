"""What is generated in the documentation: command pages from the command line, tables from recorded results.

`python -m documentation` writes it again, `python -m documentation.pictures` what takes a trained run; `tests/test_documentation.py` fails where that was forgotten.
"""
