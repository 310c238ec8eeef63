"""One module per command that is no stage of the pipeline, or runs several."""
