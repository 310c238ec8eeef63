"""Cleaning and normalisation of feature columns."""
