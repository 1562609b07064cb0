"""The photo command in a browser: a page takes photos and shows results, computed one at a time.

Two processes: the server, which computes nothing, and a worker, which keeps the GAN and its compiled programs.
`worker`: its process, and what it does. `visits`: each visitor's files. `guard`: which requests are refused.
`page`: what visitors see, and what happens on their actions. `command`: all of it on a port.
"""
