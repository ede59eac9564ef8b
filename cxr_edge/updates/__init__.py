"""Bundles on their way to devices: packed, signed, installed so that a device always has a whole one."""
