"""What `fuzz_weights.py` is made of: changes of files, lines that were run, the process that opens them."""
