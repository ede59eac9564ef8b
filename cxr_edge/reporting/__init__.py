"""Tables on screen and plots."""
