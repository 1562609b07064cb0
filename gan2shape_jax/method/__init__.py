"""GAN2Shape itself: factors, prior, projection, losses and the steps that train the five networks."""
