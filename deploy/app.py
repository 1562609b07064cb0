"""A Hugging Face Space: the page of `gan2shape-jax serve`, for everybody."""

from gan2shape_jax.serving import command

# Port 7860 is where a Space is expected to listen. Keep little, for a short time: strangers share the machine.
OPTIONS = ["--host", "0.0.0.0", "--port", "7860", "--max-mb", "20", "--max-waiting", "5", "--keep-minutes", "10"]

if __name__ == "__main__":
    raise SystemExit(command.main(OPTIONS))
