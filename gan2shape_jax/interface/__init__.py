"""The public interface for Python, as `import gan2shape_jax` offers it.

Pictures that go in or come out are RGB: uint8 from 0 to 255, or floats in [0, 1]. Geometry is NumPy float32 in scene
units; the frames and signs are those of `Reconstruction`.
"""
