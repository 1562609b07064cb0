"""What a reconstruction produces: the `Result` record, its files, and pictures of it."""

from gan2shape_jax.results.gan_views import GanViews, Projection, draw_gan_views
from gan2shape_jax.results.mesh import build_mesh, write_mesh
from gan2shape_jax.results.overview import draw_overview
from gan2shape_jax.results.page import Fragments, write_page
from gan2shape_jax.results.result import Result, load_metrics, load_result, save_result
from gan2shape_jax.results.solid import Solid, build_solid
from gan2shape_jax.results.table import Row, complete_metrics, print_table, write_metrics, write_table
from gan2shape_jax.results.writer import OutputOptions, write_outputs

__all__ = [
    "Fragments",
    "GanViews",
    "OutputOptions",
    "Projection",
    "Result",
    "Row",
    "Solid",
    "build_mesh",
    "build_solid",
    "complete_metrics",
    "draw_gan_views",
    "draw_overview",
    "load_metrics",
    "load_result",
    "print_table",
    "save_result",
    "write_mesh",
    "write_metrics",
    "write_outputs",
    "write_page",
    "write_table",
]
