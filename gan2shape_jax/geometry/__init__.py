"""Camera, differentiable rasteriser, lighting, resampling: pure functions without any GAN (GAN2Shape, section 3.1)."""
