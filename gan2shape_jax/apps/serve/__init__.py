"""The photo command in a browser: a page takes photos and shows results, computed one at a time.

Two processes: the server, which computes nothing, and a worker, which keeps the GAN and its compiled programs.

1. `tasks`: what the worker does for a job; `device`: its process.
2. `visits`: each visitor's files, and when they are removed.
3. `page`: what visitors see, and what happens on their actions; `wording`: what they read.
4. `guard`: which requests are refused; `server`, `command`: all of these on a port.
"""
