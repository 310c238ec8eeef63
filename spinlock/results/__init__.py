"""The files of a result folder that stages hand on, and whether they belong together."""
