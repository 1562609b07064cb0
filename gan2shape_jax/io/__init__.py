"""Reads and checks user input: lists, images, masks, latents and depth."""
