"""Feature families and the files that hold them."""
