"""What a configuration comes to: the plan of what is done, what makes it itself, its files as arrays, its runtime."""
