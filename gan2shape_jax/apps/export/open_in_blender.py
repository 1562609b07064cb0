"""Opens a result in Blender: its mesh, the camera that took the photo, and the photo behind the mesh.

    blender --python open_in_blender.py                      in the result's folder, where this file has been written
    blender --python open_in_blender.py -- FOLDER            of a result elsewhere
    blender --background --python open_in_blender.py -- FOLDER --render FILE.png

It needs `camera.json` and uses `textured.glb`, or else `mesh.glb`, and as the photo `photo_crop.jpg`, or else
`input.png`. Seen through its camera, the mesh lies on the photo as in the reconstruction. Nothing but Blender
(4.2 or newer) is needed. Blender's axes: x right, y away from the viewer, z up.
"""

import argparse
import json
import math
import pathlib
import sys
from typing import Any

import numpy as np

SENSOR_MM = 36.0
_MESHES = ("textured.glb", "mesh.glb")
_PHOTOS = ("photo_crop.jpg", "input.png")
_LARGEST_RENDER = 2048

# From the camera's axes (x right, y down, z away) to glTF's (x right, y up, z towards the viewer); its own inverse.
_FLIP = np.diag([1.0, -1.0, -1.0])
# From glTF's axes to Blender's, as its importer rotates them.
_TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def camera_matrix(description: dict[str, Any]) -> np.ndarray:
    """Returns the photo camera's pose relative to the exported mesh, as Blender's 4 x 4 `matrix_world`."""
    view = description["view"]
    center = np.array([0.0, 0.0, description["rot_center_depth"]])
    shift = center + [view["tx"], view["ty"], view["tz"]]
    back = _rotation(view["rx"], view["ry"], view["rz"]).T
    # The input's frame is p' = R (p - c) + c + t; its camera is at 0 there. Meshes are drawn about c.
    scale = description["intrinsics"][0][0] / (description["rot_center_depth"] * description["image_size"])
    matrix = np.eye(4)
    matrix[:3, :3] = _TO_BLENDER @ _FLIP @ back @ _FLIP
    matrix[:3, 3] = _TO_BLENDER @ _FLIP @ (-back @ shift) * scale * description["mesh_side"]
    return matrix


def light_matrix(description: dict[str, Any]) -> np.ndarray:
    """Returns the 4 x 4 matrix that rotates Blender's sun, which shines along its own -z, to the estimated light."""
    light = description["light"]
    along = _TO_BLENDER @ _FLIP @ [light["dx"], light["dy"], 1.0]
    z = -along / np.linalg.norm(along)
    x = np.cross([0.0, 0.0, 1.0], z)
    x = x / np.linalg.norm(x) if np.linalg.norm(x) > 1e-6 else np.array([1.0, 0, 0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return matrix


def focal_length_mm(description: dict[str, Any]) -> float:
    """Returns the focal length in millimetres for a square sensor of `SENSOR_MM`, centred on the optical axis."""
    return float(description["intrinsics"][0][0]) / description["image_size"] * SENSOR_MM


def build(folder: str | pathlib.Path) -> Any:
    """Fills Blender's scene with a result's mesh, camera, photo and light; returns the camera object."""
    import bpy
    from mathutils import Matrix

    folder = pathlib.Path(folder).resolve()
    description = json.loads((folder / "camera.json").read_text(encoding="utf-8"))
    for thing in list(bpy.data.objects):  # the cube, camera and lamp that a new file has
        bpy.data.objects.remove(thing)
    bpy.ops.import_scene.gltf(filepath=str(_first(folder, _MESHES)))
    scene = bpy.context.scene
    camera = bpy.data.objects.new("photo camera", bpy.data.cameras.new("photo camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.matrix_world = Matrix(camera_matrix(description).tolist())
    camera.data.sensor_fit = "HORIZONTAL"
    camera.data.sensor_width = SENSOR_MM
    camera.data.lens = focal_length_mm(description)
    camera.data.clip_start, camera.data.clip_end = 0.001, 1000.0
    photo = bpy.data.images.load(str(_first(folder, _PHOTOS)))
    camera.data.show_background_images = True
    behind = camera.data.background_images.new()
    behind.image, behind.alpha, behind.display_depth = photo, 0.5, "FRONT"
    scene.render.resolution_x = scene.render.resolution_y = min(max(photo.size[0], 512), _LARGEST_RENDER)
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"  # colours as they are in the texture
    _add_light(scene, description)
    _look_through_camera()
    return camera


def _add_light(scene: Any, description: dict[str, Any]) -> None:
    """Adds a sun in the estimated direction of the light, and the ambient light as the world's colour."""
    import bpy
    from mathutils import Matrix

    light = description["light"]
    sun = bpy.data.objects.new("estimated light", bpy.data.lights.new("estimated light", "SUN"))
    sun.data.energy = max(light["diffuse"], 0.0) * math.pi  # white paper facing it is then as bright as that
    sun.matrix_world = Matrix(light_matrix(description).tolist())
    scene.collection.objects.link(sun)
    if scene.world is None:
        scene.world = bpy.data.worlds.new("ambient light")
    scene.world.color = (max(light["ambient"], 0.0),) * 3
    if scene.world.node_tree is not None and "Background" in scene.world.node_tree.nodes:
        scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (*scene.world.color, 1.0)


def _look_through_camera() -> None:
    """Shows the scene through the camera, with textures, if there is a window."""
    import bpy

    window_manager = getattr(bpy.context, "window_manager", None)
    for window in window_manager.windows if window_manager else ():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.spaces[0].region_3d.view_perspective = "CAMERA"
                area.spaces[0].shading.type = "MATERIAL"


def _first(folder: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has neither {' nor '.join(names)}: is it the folder of one image's results?")


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    """Returns Rz Ry Rx."""
    (sx, sy, sz), (cx, cy, cz) = ((f(x), f(y), f(z)) for f in (math.sin, math.cos))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def main(arguments: list[str]) -> None:
    """Builds the scene; with --render also renders it through the camera to a file."""
    parser = argparse.ArgumentParser(prog="open_in_blender.py")
    parser.add_argument("folder", nargs="?", default=pathlib.Path(__file__).parent, help="of one image's results")
    parser.add_argument("--render", metavar="FILE.png", help="a picture through the camera, by Cycles on the CPU")
    options = parser.parse_args(arguments)
    build(options.folder)
    if options.render:
        import bpy

        bpy.context.scene.render.engine = "CYCLES"
        bpy.context.scene.cycles.samples = 16
        bpy.context.scene.render.filepath = str(pathlib.Path(options.render).resolve())
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    # Blender's own arguments end at `--`.
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
