"""GAN2Shape itself: reading this package is reading the paper.

In the order of the paper (Pan et al., ICLR 2021, arXiv 2011.00844):

1. `factors`: depth, view, light and albedo, from the outputs of the five networks (`models`).
2. `reconstruction`: the factors explain an image; `losses` and `perceptual` measure how well.
3. `prior`: the weak shape prior, and the depth network's fit to it.
4. `step1`: the albedo is learned from the input.
5. `sampling`, `projection` and `step2`: images under drawn views and lights, and their projection onto the GAN.
6. `step3`: all factors are learned from projected samples.
7. `schedule`: the sequence of the steps and their lengths.

Every step is one record (`state.Step`); `iteration` runs an iteration of any of them with the optimiser. `state` and
`settings` hold what passes between them, `frozen` holds what no step changes, and `metrics` compares depth with the
ground truth.
"""
