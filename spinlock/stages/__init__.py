"""One module per stage of the pipeline, and per command that works on what stages made."""
