"""A finished result for other programs: slicers, viewers, Blender."""
