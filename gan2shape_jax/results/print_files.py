"""Solids as files that slicers read: binary STL, and 3MF, which states that its numbers are millimetres.

3MF is a ZIP of XML (3MF Core Specification 1.3): the model, the content types, and the relationships.
"""

import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np
import trimesh

from gan2shape_jax.io.atomic_files import atomic_file
from gan2shape_jax.errors import UserError

__all__ = ["FORMATS", "require_format", "write_solid"]

FORMATS = (".stl", ".3mf")

_ROWS = 10_000  # of XML that are formatted at a time
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold; fixed, so that the same solid gives the same file
_TYPES = """\
<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
 <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
 <Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
"""
_RELATIONS = """\
<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
 <Relationship Id="rel0" Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"""
_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<model unit="millimeter" xml:lang="en-US" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">
 <metadata name="Application">gan2shape_jax</metadata>
 <resources>
  <object id="1" type="model">
   <mesh>
    <vertices>
"""
_MIDDLE = """\
    </vertices>
    <triangles>
"""
_TAIL = """\
    </triangles>
   </mesh>
  </object>
 </resources>
 <build>
  <item objectid="1"/>
 </build>
</model>
"""


def require_format(path: pathlib.Path) -> None:
    """Raises `UserError` if a file's extension is not one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: its ending has to be one of {', '.join(FORMATS)}")


def write_solid(mesh: trimesh.Trimesh, path: pathlib.Path) -> None:
    """Writes a mesh in millimetres in the format of the path's extension; the folder must exist.

    Raises:
      UserError: the extension is not one of `FORMATS`, or the file system refuses.
    """
    require_format(path)
    write = _write_stl if path.suffix.lower() == ".stl" else _write_3mf
    atomic_file(path, lambda part: write(mesh, part))


def _write_stl(mesh: trimesh.Trimesh, path: pathlib.Path) -> None:
    path.write_bytes(trimesh.exchange.stl.export_stl(mesh))


def _write_3mf(mesh: trimesh.Trimesh, path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("[Content_Types].xml", _TYPES), ("_rels/.rels", _RELATIONS)):
            archive.writestr(_entry(name), text)
        with archive.open(_entry("3D/3dmodel.model"), "w") as model:
            for text in _model(mesh):
                model.write(text.encode("ascii"))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _model(mesh: trimesh.Trimesh) -> Iterator[str]:
    yield _HEAD
    yield from _rows('<vertex x="%.6f" y="%.6f" z="%.6f"/>\n', np.asarray(mesh.vertices))
    yield _MIDDLE
    yield from _rows('<triangle v1="%d" v2="%d" v3="%d"/>\n', np.asarray(mesh.faces))
    yield _TAIL


def _rows(pattern: str, values: np.ndarray) -> Iterator[str]:
    for start in range(0, len(values), _ROWS):
        some = values[start : start + _ROWS]
        yield pattern * len(some) % tuple(some.reshape(-1).tolist())
