"""The photo command in a browser: photos come in by a page, one job at a time computes, results go out by the page.

Two processes: the server, which computes nothing, and a worker, which keeps the GAN and its compiled programs.

1. `limits`: what visitors may ask for; `folders`: what lies on the disk, and when it goes.
2. `tasks` on the worker's side: framing, reconstruction; `worker`: its process; `messages`: what goes over the pipe.
3. `device`: the worker as the server sees it; `jobs`: the queue before it; `visits`: who has asked for what.
4. `crops`, `wording`, `page`: what visitors see; `downloads`, `guard`, `server`: how it reaches them; `command`.
"""
