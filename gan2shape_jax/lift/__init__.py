"""One set of networks for everything that a GAN draws."""
