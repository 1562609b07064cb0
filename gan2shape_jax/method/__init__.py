"""GAN2Shape itself: to read this folder is to read the paper.

In the order of the paper (Pan et al., ICLR 2021, arXiv 2011.00844):

1. `factors`: depth, view, light and albedo, from the outputs of the five networks (`models`).
2. `reconstruction`: the factors explain an image; `image_terms`, `losses` and `perceptual` say how well.
3. `prior` and `prior_step`: the weak shape prior, and the depth network's fit to it.
4. `step1`: the albedo is learned from the input.
5. `sampling`, `pseudo_images`, `projection` and `step2`: drawn views and lights, and their projection onto the GAN.
6. `step3`: all factors are learned from projected samples.
7. `schedule`: how often the steps follow one another.

Every step is one record (`step`, `steps`); `iteration` makes an iteration of any of them with the `optimizer`. `state`
and `settings` hold what passes between them, `frozen` what no step changes, and `metrics` compares with a true depth.
"""
