"""Finding the objects in a photo, each framed as the GAN frames such objects in its own pictures.

There are two detectors, and a kind's record (`io.categories`) says which one it has:

- `faces`: people, by YuNet, the face detector that comes with OpenCV. Where the crop has to lie follows from five
  landmarks and from where the same detector finds them in the GAN's own samples.
- `gan_detector`: any other kind, by what the GAN's samples teach: the discriminator scores crops, and an alignment
  network moves them onto the object.

`detector` has what both return, `weights` what they keep for each GAN.
"""
