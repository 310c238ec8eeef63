"""Sampling of operators, their initial conditions and their simulation."""
