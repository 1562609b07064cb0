"""A run over a list of images: what is loaded, what is written, how it resumes, what the user is told."""
