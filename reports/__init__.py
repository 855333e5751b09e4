"""Judges on the controller what the nodes measured: from the files of a run folder to pages, tables and verdicts."""
