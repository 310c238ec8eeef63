"""Figures, as functions of arrays; nothing here reads or writes a file."""
