"""Commands beside the run; each imports the core, none is imported by it."""
