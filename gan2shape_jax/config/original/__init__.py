"""The published implementation's YAML settings files, translated to this project's fields."""
