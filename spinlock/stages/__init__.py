"""One runnable module per stage of the pipeline."""
