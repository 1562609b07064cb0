"""Camera, differentiable rasteriser, lighting, resampling: pure functions that know no GAN (GAN2Shape, section 3.1)."""
