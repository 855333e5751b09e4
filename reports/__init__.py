"""Judges on the controller what the nodes measured."""
