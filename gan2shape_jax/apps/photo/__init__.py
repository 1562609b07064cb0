"""From any photo to the method's input: finds the object and its mask, and runs over the crops.

`framing`: the search for the object, the network that moves a crop to frame it as the GAN does, and what both learn
from a GAN's own samples, once. `photo_run`: names, model, crop and mask as files, and the run over them.
"""
