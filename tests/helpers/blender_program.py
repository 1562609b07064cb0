"""Run by Blender's Python: opens a results folder by its script, writes where the camera sees vertices, and a picture.

python blender_program.py SCRIPT FOLDER OUT.json OUT.png SIZE
"""

import importlib.util
import json
import sys

import bpy
from bpy_extras.object_utils import world_to_camera_view


def main(script: str, folder: str, numbers: str, picture: str, size: str) -> None:
    spec = importlib.util.spec_from_file_location("open_in_blender", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bpy.ops.wm.read_factory_settings(use_empty=False)  # with the cube that a new file has
    camera = module.build(folder)
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    (mesh,) = (thing for thing in bpy.data.objects if thing.type == "MESH")
    observed = [world_to_camera_view(scene, camera, mesh.matrix_world @ vertex.co)[:] for vertex in mesh.data.vertices]
    uv = {}
    for loop, place in zip(mesh.data.loops, mesh.data.uv_layers[0].data, strict=True):
        uv[loop.vertex_index] = tuple(place.uv)
    with open(numbers, "w") as file:
        json.dump({"seen": observed, "uv": [uv[i] for i in range(len(observed))]}, file)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 16
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 1.0
    scene.render.resolution_x = scene.render.resolution_y = int(size)
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = picture
    bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
