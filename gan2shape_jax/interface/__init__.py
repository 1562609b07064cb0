"""The public Python API, as exposed by `import gan2shape_jax`.

Input and output pictures are RGB: uint8 from 0 to 255, or floats in [0, 1]. Geometry is NumPy float32 in scene units;
frames and signs are described in `Reconstruction`.
"""
