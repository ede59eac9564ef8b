"""Deliver bundles to devices: packed, signed, and installed so that a device always has a complete one."""
