"""The five networks of the method, their layers, and their weights in the original's terms.

Images are `(N, S, S, 3)` in [-1, 1]. Source: GAN2Shape, section 3 and appendix.
"""

from typing import Any

Params = dict[str, Any]  # parameters of a network, or of several by name: nested, their leaves arrays
