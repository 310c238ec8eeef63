"""Metrics, baselines, figures and the report."""
