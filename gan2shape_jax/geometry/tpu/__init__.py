"""The rasteriser's forms for TPU: Pallas kernels without scatters, where `visibility` and `depth_tangent` scatter."""
