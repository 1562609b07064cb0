"""The method in PyTorch, as a baseline: the original's networks, GAN, losses and step structure.

Written for this purpose from the paper and from what the published code computes, for CPU and CUDA. Images are
`(N, 3, S, S)` in [-1, 1]; depth, masks and shading `(N, S, S)`, views `(N, 6)` and lights `(N, 4)` as in
`gan2shape_jax.method.factors`. `steps.model_of` copies our parameters, so that both do the same work on the same
numbers (tests/benchmarks/test_torch_reference.py). Settings are PyTorch's defaults: float32, oneDNN on a CPU and cuDNN
on CUDA, eager mode.
"""
