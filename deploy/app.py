"""A Hugging Face Space: the page of `gan2shape-jax serve`, for everybody."""

import os

from gan2shape_jax.apps.serve import command

# Where to listen is told by Gradio's own variables; a Space sets the first, and expects an answer on port 7860.
ADDRESS = [
    "--host",
    os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
    "--port",
    os.environ.get("GRADIO_SERVER_PORT", "7860"),
]
# Whose word is taken for where a visitor comes from: a Space's proxies are in private networks.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.1")
# Keep little, for a short time: strangers share the machine.
OPTIONS = [*ADDRESS, "--max-mb", "20", "--max-waiting", "5", "--keep-minutes", "10"]

if __name__ == "__main__":
    raise SystemExit(command.main(OPTIONS))
