"""From any photo to the method's input: finds the object and its mask, and runs over the crops.

1. `sources`: which files are meant, and which model explains them.
2. `guide`: what is learned once from a GAN's own samples, and cached: `alignment`, a network that moves a crop to frame
   objects as the GAN does, and where the object usually is in the GAN's pictures.
3. `framing`: the search for the object; `preparation`: crop and mask as files.
4. `photo_run`: the run over them; `command`: all of these.
"""
