"""What a user gives: lists, images, masks, latents and depth, read and checked."""
