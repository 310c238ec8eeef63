"""The model's start from data: bits, axes, books and decoder, before end-to-end training."""
