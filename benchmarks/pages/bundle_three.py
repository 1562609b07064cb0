"""Makes `gan2shape_jax/assets/viewer/three.min.js`: the part of three.js that a run's page uses, in one file.

    python benchmarks/pages/bundle_three.py

Takes three.js and esbuild in the versions below from the npm registry (Node.js with npm is needed for nothing else),
leaves out what `_USED` does not name, minifies the rest into a script that defines `THREE`, and puts three.js's licence
beside it.
"""

import argparse
import pathlib
import shutil
import subprocess
import tempfile

_THREE, _ESBUILD = "0.187.0", "0.28.2"
_USED = """
export {
  BufferAttribute, BufferGeometry, DoubleSide, GLSL3, Group, LinearMipmapLinearFilter, LinearSRGBColorSpace,
  LineSegments, Matrix3, Matrix4, Mesh, NoColorSpace, PerspectiveCamera, RawShaderMaterial, Scene, Spherical, Texture,
  Vector3, WebGLRenderer, WebGLRenderTarget
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
"""
_VIEWER = pathlib.Path(__file__).resolve().parents[2] / "gan2shape_jax" / "assets" / "viewer"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "used.js").write_text(_USED)
        (folder / "package.json").write_text("{}")
        packages = [f"three@{_THREE}", f"esbuild@{_ESBUILD}"]
        subprocess.run(["npm", "install", "--silent", *packages], cwd=folder, check=True)
        options = ["--bundle", "--minify", "--format=iife", "--global-name=THREE", "--target=es2020", "--charset=ascii"]
        banner = f"/*! three.js {_THREE}, MIT licence (LICENSE-three), https://threejs.org; made by bundle_three.py */"
        command = ["npx", "esbuild", "used.js", *options, f"--banner:js={banner}", "--outfile=three.min.js"]
        subprocess.run(command, cwd=folder, check=True)
        shutil.copy(folder / "three.min.js", _VIEWER / "three.min.js")
        shutil.copy(folder / "node_modules" / "three" / "LICENSE", _VIEWER / "LICENSE-three")


if __name__ == "__main__":
    main()
