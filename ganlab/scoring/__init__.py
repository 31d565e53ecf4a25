"""Scores: features of images, metrics of features, tables of metrics."""
