"""TPU versions of the rasteriser: Pallas kernels without scatters, where `visibility` and `depth_tangent` scatter."""
