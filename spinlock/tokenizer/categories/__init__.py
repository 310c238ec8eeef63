"""Categories of features: found by clustering, or given in a mapping."""
