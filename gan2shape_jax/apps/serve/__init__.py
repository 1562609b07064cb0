"""The photo command in a browser: a page takes photos and shows results, computed one at a time.

Two processes: the server, which computes nothing, and a worker, which keeps the GAN and its compiled programs.
"""
