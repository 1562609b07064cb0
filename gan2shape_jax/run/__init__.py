"""A run over a list of images: what it loads and writes, how it resumes, and what it reports to the user."""
