"""Photos and images of a run divided among the machines of a Ray cluster; read and written wherever fsspec does."""
