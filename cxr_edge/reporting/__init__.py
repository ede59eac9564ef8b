"""Terminal output, HTML pages and model cards."""
