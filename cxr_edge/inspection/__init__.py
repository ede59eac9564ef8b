"""What an artifact really contains: its operators, and which of them compute in integers."""
