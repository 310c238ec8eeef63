"""Speed, memory and quality, measured against references in one run; see `python -m benchmarks`."""
