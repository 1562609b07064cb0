"""Functions of `geometry`, each compiled as a whole: called as they are, every operation is a program of its own."""

import jax

from gan2shape_jax.geometry import mesh_rasterizer, rasterizer, render, resample
from gan2shape_jax.geometry import texture as textures

grid_sample = jax.jit(resample.grid_sample, static_argnames="mode")
warp_depth = jax.jit(render.warp_depth, static_argnames=("camera", "sampling"))
draw_texture = jax.jit(render.draw_texture, static_argnames="camera")
rasterize_grid = jax.jit(rasterizer.rasterize, static_argnames=("camera", "samples"))
rasterize = jax.jit(
    mesh_rasterizer.rasterize,
    static_argnames=("camera", "supersample", "size", "sampling", "samples", "cull", "layers", "derivatives"),
)
interpolate = jax.jit(mesh_rasterizer.interpolate, static_argnames=("supersample", "derivatives"))
antialias = jax.jit(mesh_rasterizer.antialias, static_argnames=("camera", "samples"))
texture = jax.jit(textures.texture, static_argnames="wrap")
