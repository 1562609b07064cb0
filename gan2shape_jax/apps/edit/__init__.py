"""Rotation and relighting of a finished result, by the mesh and by the GAN."""
