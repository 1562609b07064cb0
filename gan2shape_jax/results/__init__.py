"""What a reconstruction produces: the `Reconstruction`, its files, and pictures of it."""

from gan2shape_jax.results.files import examine
from gan2shape_jax.results.meshes import build_mesh
from gan2shape_jax.results.outputs import OUTPUTS, OutputOptions, write_outputs
from gan2shape_jax.results.page import Entry, in_pages, page_name, page_text, write_page
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.result import AWAITS, Row, load_metrics, save_result
from gan2shape_jax.results.solid import Solid, build_solid
from gan2shape_jax.results.tables import print_table, write_table
from gan2shape_jax.results.views import GanViews, Projection, draw_gan_views, draw_overview

__all__ = ["AWAITS", "OUTPUTS", "Entry", "GanViews", "OutputOptions", "Projection", "Reconstruction", "Row", "Solid"]
__all__ += ["build_mesh", "build_solid", "draw_gan_views", "draw_overview", "examine", "in_pages", "load"]
__all__ += ["load_metrics", "page_name", "page_text", "print_table", "save_result", "write_outputs"]
__all__ += ["write_page", "write_table"]
