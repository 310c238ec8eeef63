"""One module per stage of the pipeline: each is run as a program, by the rule of its name."""
