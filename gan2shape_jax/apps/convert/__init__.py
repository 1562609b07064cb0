"""Weights of other programs (StyleGAN2s, GAN2Shape's networks, LPIPS, parsers) as files of this one."""
