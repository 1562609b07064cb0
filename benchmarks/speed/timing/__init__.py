"""What `speed.py` and `scaling.py` are made of.

A subject (`subjects`) is a configuration with everything loaded or drawn. `ours` and `theirs` (PyTorch) turn it into
calls by name: train steps, and parts of them. `clock` times calls of the same name side by side, `report` makes tables.
"""
