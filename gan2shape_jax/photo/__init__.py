"""From any photo to what the method takes: where the object is in it, its mask, and a run over the crops.

1. `sources`: which files are meant; `kinds`: which model explains them.
2. `guide`: what is learned once from a GAN's own samples, and kept: `alignment`, a network that moves a crop to where
   the GAN has such objects (`alignment_training` on `canvases`), and where in its pictures the object usually is.
3. `framing`: the search for the object; `preparation`: crop and mask as files.
4. `command`: all of it, and the run.
"""
