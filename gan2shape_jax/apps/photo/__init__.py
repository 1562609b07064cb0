"""From any photo to the method's input: finds the object and its mask, and runs over the crops.

`sources`: which files, names and model are meant. `alignment`: a network that moves a crop to frame objects as the GAN
does. `framing`: the search for the object. `guide`: what both learn from a GAN's own samples, once. `photo_run`: crop
and mask as files, and the run over them.
"""
