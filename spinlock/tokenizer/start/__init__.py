"""The model's start from data: bits, axes, books and corrections, before any gradient step."""
