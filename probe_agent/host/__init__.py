"""Kernel and process memory state, read from a root path (tests give a fake one)."""
