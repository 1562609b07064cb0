"""The photo command in a browser: a page takes photos and shows results; jobs are computed one at a time.

Two processes: the server, which computes nothing, and a worker, which keeps the GAN and its compiled programs.

1. `limits`: what visitors may request; `folders`: what is on disk, and when it is removed.
2. `tasks` on the worker's side: framing, reconstruction; `worker`: its process; `messages`: what goes over the pipe.
3. `device`: the worker as seen by the server; `jobs`: the queue in front of it; `visits`: who has requested what.
4. `crops`, `wording`, `page`: what visitors see; `downloads`, `guard`, `server`: how it reaches them; `command`.
"""
