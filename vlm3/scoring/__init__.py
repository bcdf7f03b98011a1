"""Predictions on disk, the scores that they get, and the baselines that they have to beat."""
