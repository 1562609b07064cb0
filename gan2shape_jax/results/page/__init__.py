"""The run's page: one self-contained HTML file with an interactive model of every image it has room for."""

from gan2shape_jax.results.page.entries import Entry
from gan2shape_jax.results.page.fragment import write_fragment
from gan2shape_jax.results.page.stored import Fragments
from gan2shape_jax.results.page.write import LIMIT, page_text, write_page

__all__ = ["LIMIT", "Entry", "Fragments", "page_text", "write_fragment", "write_page"]
