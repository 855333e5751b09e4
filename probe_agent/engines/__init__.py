"""Processes that hold a model: started fresh, watched while they live, ended with nothing left behind."""
