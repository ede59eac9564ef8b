"""What an artifact really is: its operators, and which of them compute in integers."""
