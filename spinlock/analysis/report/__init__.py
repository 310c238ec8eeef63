"""The report: one page per experiment that needs nothing beside itself."""
