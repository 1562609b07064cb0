"""Every field a run can set: default, meaning with unit, range, choices, and whether results depend on it.

The category files start from this one and change what differs. Fields and groups are documented by the comment directly
above them: `gan2shape-jax --help=FIELD` prints these comments. Relative paths are relative to the folder in which the
program is started; an empty path means "not given".

    python -m gan2shape_jax.main --config=configs/ictface.py --config.schedule.use_mask=True
"""

from ml_collections import ConfigDict

from gan2shape_jax import extensions
from gan2shape_jax.config.schema import Field, defaults

__all__ = ["get_config", "schema"]


def get_config() -> ConfigDict:
    """Returns the defaults: the published method's settings at 128 pixels, without any data."""
    return defaults(schema())


def schema() -> ConfigDict:
    """Returns the description of every field; numbers have a lowest and a highest value."""
    config = ConfigDict()
    # Random seed: every random choice of a run is a function of this number.
    config.seed = Field(0, low=0, high=2**32 - 1)
    # Folder that receives checkpoints, logs and results; created if it does not exist.
    config.workdir = Field("results/run", role="machine")
    # What the run does. 'train': networks of its own for each image, from random ones or those of joint training
    # (networks.pretrained), as published; 'refine': a lifted model (networks.pretrained) is refined on each image, by
    # config.refinement; 'predict': trained networks explain the images without any training, and need no GAN, latents
    # or masks; 'joint': all images train one set of networks; 'lift': the GAN's own samples train one set of networks,
    # without any images (config.lift); 'finetune': two more stages of a lift, on turned pictures; 'train_detail': a
    # lifted model learns to take its albedo's detail from the picture itself (config.detail).
    config.recipe = Field("train", choices=("train", "refine", "predict", "joint", "lift", "finetune", "train_detail"))
    # True reproduces the published implementation's known bugs: half-pixel sampling, short normals, the first batch
    # of samples skipped; in joint training, mixed-up lights and the prior of the first image; swapped vertices in
    # renderings of the mesh.
    config.reference = Field(False)
    # Kind of object: face, synface, ictface, celeba, cat, car, church, horse, or a name of your own;
    # determines the prior's box, which parser finds masks, and how far pictures turn.
    config.category = Field("face")
    # Side S of the square images that the method works on, in pixels; a power of two from 32 to 256.
    config.image_size = Field(128, low=32, high=256, power_of_two=True)
    _data(config)
    _camera(config)
    _networks(config)
    _gan(config)
    _sampling(config)
    _training(config)
    _schedule(config)
    _lift(config)
    _refinement(config)
    _outputs(config)
    return config


def _data(config: ConfigDict) -> None:
    """Sets where the images are, and what belongs to them."""
    # The images, with their latents, masks and ground-truth depths.
    config.data = ConfigDict()
    # Text file with one image name per line; further columns are ignored, and names with spaces must be quoted.
    config.data.image_list = Field("", role="machine")
    # Folder of the images named in the list.
    config.data.image_root = Field("", role="machine")
    # Folder of W latents, NAME.pt or NAME.npy; without one, the GAN is inverted.
    config.data.latent_root = Field("", role="machine")
    # Folder of ground-truth depths for the evaluation, NAME.npy (scene units) or NAME.png; '' means no evaluation.
    config.data.depth_root = Field("", role="machine")
    # Where object masks come from (the ellipsoid prior and use_mask need them): 'file' (mask_root), 'alpha' (the
    # image's alpha channel), 'parser' (the category's), 'mean' (lift.mean_mask for all), or 'auto': the first of
    # these four that an image has, that only if lift.masks is 'mean' and mask_root is ''.
    config.data.mask_source = Field("auto", choices=("auto", "file", "alpha", "parser", "mean"))
    # Folder of object masks, NAME.png, white on the object.
    config.data.mask_root = Field("", role="machine")
    # Side of the centred square cut from each image before it is resized to S, in pixels; None means no crop.
    config.data.crop = Field(None, low=1, high=65536)

    # The network that finds object masks.
    config.parsing = ConfigDict()
    # Weights of the category's scene parser, as written by `gan2shape-jax convert` (.safetensors); '' means no parser.
    config.parsing.weights = Field("", file=True)


def _camera(config: ConfigDict) -> None:
    """Sets the pinhole camera and the ranges of views."""
    # The pinhole camera, and how far views may rotate and shift.
    config.camera = ConfigDict()
    # Field of view, degrees.
    config.camera.fov_deg = Field(10.0, low=0.001, high=119.999)
    # Minimum depth of a surface, scene units.
    config.camera.min_depth = Field(0.9, low=1e-06, high=1e6)
    # Maximum depth of a surface, scene units.
    config.camera.max_depth = Field(1.1, low=1e-06, high=1e6)
    # Depth of the point that views rotate about, scene units.
    config.camera.rot_center_depth = Field(1.0, low=1e-06, high=1e6)
    # Maximum rotation about each axis, degrees.
    config.camera.xyz_rotation_range_deg = Field(60.0, low=1e-06, high=360)
    # Maximum translation across the line of sight, scene units.
    config.camera.xy_translation_range = Field(0.1, low=0, high=1e6)
    # Maximum translation along the line of sight, scene units.
    config.camera.z_translation_range = Field(0.0, low=0, high=1e6)


def _networks(config: ConfigDict) -> None:
    """Sets the sizes of the five trained networks: depth, albedo, view, light and the encoder."""
    # The five trained networks.
    config.networks = ConfigDict()
    published = ("encoder_decoder",)
    # The depth network: 'encoder_decoder' (the method's), or one that an installed package adds.
    config.networks.depth = Field(*published, choices=(*published, *extensions.names("depth_network", published)))
    # Channels of the first level of the depth, albedo, view and light networks; 0 means max(4096 / S, 16).
    config.networks.width = Field(0, low=0, high=1024)
    # Channels of the first level of the view and light networks, if different; 0 means networks.width (Unsup3d has 32).
    config.networks.view_light_width = Field(0, low=0, high=1024)
    # Number of groups in the first group normalisation; 0 means 8 for S of 128 or more, else 16.
    config.networks.group_base = Field(0, low=0, high=1024)
    # Channels of the bottleneck of the depth and albedo networks.
    config.networks.zdim = Field(256, low=1, high=16384)
    # Channels of the encoder's first level.
    config.networks.encoder_width = Field(32, low=1, high=1024)
    # Weights to start from instead of random ones: networks.safetensors of a run, or a .pth of the published
    # implementation; '' starts from scratch and fits the prior.
    config.networks.pretrained = Field("", file=True)


def _gan(config: ConfigDict) -> None:
    """Sets the frozen StyleGAN2 of the category."""
    # The frozen StyleGAN2.
    config.gan = ConfigDict()
    # Generator and discriminator, as written by `gan2shape-jax convert` (.safetensors).
    config.gan.checkpoint = Field("", file=True)
    # Side of the generator's images, in pixels; must match the checkpoint.
    config.gan.size = Field(256, low=8, high=1024, power_of_two=True)
    # Width multiplier of the published architectures; must match the checkpoint, 0 accepts any number of channels.
    config.gan.channel_multiplier = Field(2, low=0, high=64)
    # Length of a latent in W; must match the checkpoint.
    config.gan.style_dim = Field(512, low=1, high=16384)
    # Truncation of latents, offsets included, towards the mean; 1 leaves them unchanged.
    config.gan.truncation = Field(1.0, low=0, high=1)
    # Modules at the end of the mapping network, less one, that the projected offset passes through (as
    # regularisation), as the published code counts: 2 means its last three layers, 8 all eight and the normalisation.
    config.gan.F1_d = Field(2, low=1, high=8)
    # False uses the encoder's output directly as the offset in W, bypassing the mapping network (F1_d then has no
    # effect): an ablation for single images, but what a lift does, whose encoder has seen exact latents.
    config.gan.regularize_offset = Field(True)
    # True encodes an image relative to the GAN's own image of the input's latent.
    config.gan.relative_enc = Field(False)


def _sampling(config: ConfigDict) -> None:
    """Sets the distributions from which views and lights of pseudo-images are sampled."""
    # How views and lights of pseudo-images are sampled.
    config.sampling = ConfigDict()
    # Mean (6,) and covariance (6,6) of views, network units (.pth or .npz).
    config.sampling.view_mvn = Field("", file=True)
    # Mean (4,) and covariance (4,4) of lights, network units (.pth or .npz).
    config.sampling.light_mvn = Field("", file=True)
    # Factor applied to the sampled yaws.
    config.sampling.view_scale = Field(1.0, low=1e-06, high=1000)
    # Range of x and range of y of the light direction (x, y, 1), range of its strength, and ambient share of the
    # strength.
    config.sampling.rand_light = Field((-1.0, 1.0, -0.2, 0.8, -0.1, 0.6, -0.6))
    # True adds the mean view to the view network's output.
    config.sampling.add_mean_V = Field(True)
    # True adds the mean light to the light network's output.
    config.sampling.add_mean_L = Field(True)
    # Batches of projected samples kept at the end of step 2; in joint training, the total for all images, with the same
    # whole number of batches for each.
    config.sampling.collect_iters = Field(100, low=1, high=10**6)
    # Pseudo-images per batch in steps 2 and 3.
    config.sampling.batch_size = Field(8, low=1, high=4096)


def _training(config: ConfigDict) -> None:
    """Sets the prior, the losses and the optimiser."""
    # The shape that training starts from.
    config.prior = ConfigDict()
    shapes = "ellipsoid", "whole_ellipsoid", "shifted_ellipsoid", "cuboid", "flat", "category"
    # What the depth network is first fitted to: 'ellipsoid' (the method's), 'whole_ellipsoid' (continues above and
    # below the frame where that cuts the object off, and is as deep as half the object's width), 'shifted_ellipsoid'
    # (moved sideways), 'cuboid' (config.prior.cuboid, the same for all images; the widths of outlines then teach the
    # view network yaw before a lift), 'flat' (a plane in the middle of the depth range), or 'category' (what the
    # category's record brings, see CATEGORY); far applies to all but the last two, near to the first and the third.
    config.prior.shape = Field("ellipsoid", choices=shapes)
    # How far 'shifted_ellipsoid' is moved to the right, in widths of the object's box.
    config.prior.shift = Field(0.25, low=-1, high=1)
    # Depth of the ellipsoid's nearest point, scene units.
    config.prior.near = Field(0.91, low=1e-06, high=1e6)
    # Depth of the ellipsoid's rim and of everything outside it, scene units.
    config.prior.far = Field(1.02, low=1e-06, high=1e6)
    # The cuboid's length, width and height, scene units, and by how many degrees its front is turned to the right in
    # the canonical view (negative: to the left).
    config.prior.cuboid = Field((0.154, 0.062, 0.052, 40.0))
    # Optimiser iterations for fitting the depth network to that shape.
    config.prior.iterations = Field(1000, low=0, high=10**7)

    # The perceptual distance, and the weights of the losses.
    config.loss = ConfigDict()
    # Perceptual distance: 'lpips' (VGG16, needs lpips_weights), 'discriminator' (the GAN's own, needs nothing else), or
    # one that an installed package adds.
    config.loss.perceptual = Field("lpips", choices=_distances())
    # LPIPS weights (.safetensors).
    config.loss.lpips_weights = Field("", file=True)
    # Weight of the perceptual distance.
    config.loss.lam_perc = Field(0.5, low=0, high=1e6)
    # Weight of the smoothness loss on depth and shading.
    config.loss.lam_smooth = Field(0.01, low=0, high=1e6)
    # Weight of the squared latent offset in step 2.
    config.loss.lam_regular = Field(0.01, low=0, high=1e6)
    _added_losses(config)

    # The Adam optimiser.
    config.optimizer = ConfigDict()
    # Adam's learning rate.
    config.optimizer.learning_rate = Field(1e-4, low=1e-30, high=1000)
    # L2 penalty added to the gradient (coupled, not AdamW).
    config.optimizer.weight_decay = Field(5e-4, low=0, high=1e6)
    # Decay rate of Adam's first moment.
    config.optimizer.beta1 = Field(0.9, low=0, high=0.9999999)
    # Decay rate of Adam's second moment.
    config.optimizer.beta2 = Field(0.999, low=0, high=0.9999999)
    # Term that keeps Adam's quotient finite (epsilon).
    config.optimizer.eps = Field(1e-8, low=1e-30, high=1000)

    # Finding latents for images that come without one.
    config.inversion = ConfigDict()
    # Optimiser iterations for finding an image's latent if no file provides it.
    config.inversion.steps = Field(500, low=1, high=10**7)
    # Peak learning rate of that optimisation, in W.
    config.inversion.learning_rate = Field(0.1, low=1e-30, high=1000)


def _distances() -> tuple[str, ...]:
    own = "discriminator", "lpips"
    return (*own, *extensions.names("distance", own))


def _added_losses(config: ConfigDict) -> None:
    """Sets the weights of losses, and the files of distances, that installed packages add."""
    for name in extensions.names("loss", ["perc", "smooth", "regular"]):
        about = f"Weight of a loss of {extensions.version('loss', name)}, in steps 1 and 3; 0 leaves it out."
        meaning = f"{extensions.about('loss', name)} {about}".lstrip()
        config.loss[f"lam_{name}"] = Field(0.0, low=0, high=1e6, meaning=meaning, added=True)
    for name in extensions.names("distance"):
        about = f"Weights of the distance '{name}' of {extensions.version('distance', name)}, if it has any."
        config.loss[f"{name}_weights"] = Field("", file=True, meaning=about, added=True)


def _schedule(config: ConfigDict) -> None:
    """Sets the stages, and which networks see which images."""
    # Stages and steps, mirroring, and which images train which networks.
    config.schedule = ConfigDict()
    # Iterations of steps 1, 2 and 3, one triple a stage.
    config.schedule.stages = Field(((600, 600, 400), (200, 500, 300), (200, 500, 300), (200, 500, 300)))
    # Per stage: whether the mirrored depth and albedo must explain the input in step 1 too (needs flip3).
    config.schedule.flip1 = Field((False, False, False, False))
    # Per stage: whether the mirrored depth and albedo must explain the input and the samples in step 3 too.
    config.schedule.flip3 = Field((False, False, False, False))
    # True restores the initial weights before every new image; no effect in joint training.
    config.schedule.reset_weight = Field(True)
    # If several batches share an iteration: True gives each its own image, False gives all of them the same one.
    config.schedule.distinct_images = Field(True)
    # True averages the gradients of several batches per iteration; False uses one batch per iteration.
    config.schedule.average_gradients = Field(True)
    # Batches per iteration of joint training, spread over the devices, whose gradients are averaged; 0 means one per
    # device.
    config.schedule.batches_per_iteration = Field(0, low=0, high=65536)
    # True restricts the losses of steps 2 and 3 to the object's mask.
    config.schedule.use_mask = Field(False)


def _lift(config: ConfigDict) -> None:
    """Sets how a GAN is lifted."""
    # Lifting a GAN: joint training on its own samples (recipes 'lift' and 'finetune').
    config.lift = ConfigDict()
    # Pictures on which a lift finally trains the detail of the albedo, as the recipe 'train_detail' does, in
    # WORKDIR/detail; 0 skips this. The lifted model is the same in either case.
    config.lift.detail_pictures = Field(0, low=0, high=10**9, role="machine")
    # Samples that a stage trains on; every stage uses different ones.
    config.lift.samples = Field(192, low=2, high=10**6)
    # Truncation of the samples' latents towards the mean, in (0, 1]; lower values give more typical, less varied
    # samples.
    config.lift.truncation = Field(0.9, low=0.01, high=1)
    # Batches of projected samples kept for each sample in a stage.
    config.lift.batches = Field(4, low=1, high=10**5)
    # Where the samples' object masks come from: 'grabcut' (by GrabCut, starting from lift.mean_mask), 'parser' (the
    # category's), 'mean' (lift.mean_mask for all), or 'none' (the whole square).
    config.lift.masks = Field("grabcut", choices=("grabcut", "parser", "mean", "none"))
    # Picture of how often the object covers each pixel, white for always; '' estimates it from samples of the GAN.
    config.lift.mean_mask = Field("", file=True)
    # Side, in pixels, to which the GAN's samples are resized before data.crop (if set) is cut from them, as from
    # images.
    config.lift.cropped_from = Field(256, low=16, high=4096)
    # Held-out samples, never trained on, with which training is evaluated.
    config.lift.held_out = Field(16, low=1, high=10**5)
    # Fresh samples on which the model's view and light statistics and typical errors are measured.
    config.lift.measured = Field(256, low=2, high=10**5)
    # Iterations in which the encoder learns to invert the GAN on fresh samples, before the first stage; 0 means none.
    config.lift.inversion_iterations = Field(2000, low=0, high=10**7)
    # Fresh samples that each image is compared with in such an iteration.
    config.lift.inversion_samples = Field(8, low=1, high=10**4)
    # Learning rate of the first stage, in which the albedo starts from scratch; later stages use
    # optimizer.learning_rate.
    config.lift.first_learning_rate = Field(2e-4, low=1e-09, high=1)
    # Learning rate of encoders, in the inversion and in step 2.
    config.lift.encoder_learning_rate = Field(5e-4, low=1e-09, high=1)
    # Steps of the search for each projected sample's own latent, starting from the encoder's output; 0 uses that output
    # as it is.
    config.lift.latent_iterations = Field(20, low=0, high=10**4)
    # Adam's learning rate in that search, in W.
    config.lift.latent_learning_rate = Field(0.03, low=1e-30, high=1000)
    # Iterations of step 2 in the stages of 'finetune' if the GAN hardly turns its object, as measured in
    # networks.pretrained: each sample then gets an encoder of its own, with offsets that pass through the mapping
    # network.
    config.lift.own_encoder_iterations = Field(300, low=1, high=10**6)
    # Weight, in 'lift', of the views' distance from the known ones: mean square, in standard deviations of the sampled
    # views.
    config.lift.anchor_view = Field(0.2, low=0, high=1e6)
    # Iterations over which the learning rate ramps up at the start of every step.
    config.lift.warmup_iterations = Field(50, low=0, high=10**6)
    # Iterations of training V on its own samples, rendered under new views and lights, after the last stage; 0 means
    # none.
    config.lift.view_iterations = Field(0, low=0, high=10**6)
    # Decay, per iteration, of the moving average of the networks with which the inversion and a stage's steps 2 and 3
    # end; 0 uses the latest.
    config.lift.average = Field(0.99, low=0, high=0.99999)

    # Training the detail of a lifted model's albedo (recipe 'train_detail').
    config.detail = ConfigDict()
    # Pictures to train on: samples of the GAN, none of them repeated, and, if there is a data.image_list, photographs.
    config.detail.pictures = Field(1_000_000, low=1, high=10**9)


def _refinement(config: ConfigDict) -> None:
    """Sets how a model is refined on one image."""
    # Refining a lifted GAN's model (networks.pretrained) on each image (recipe 'refine').
    config.refinement = ConfigDict()
    # Iterations of steps 1, 2 and 3, one triple per stage, in place of schedule.stages; the first step 1 needs at least
    # one. The mirrored factors are used in all of them if any stage of schedule.flip3 uses it. There is no step 2 with
    # refinement.samples='turned'.
    config.refinement.stages = Field(((30, 200, 150),))
    # What step 3 learns from: 'projected', the GAN's versions of renderings, by a new encoder that step 2 trains, as
    # set by gan.relative_enc, regularize_offset and F1_d (the model's follows renderings so closely that it repeats
    # their errors); or 'turned', the GAN's own turned pictures of the image's latent, for a model with the axes along
    # which its GAN turns its object.
    config.refinement.samples = Field("projected", choices=("projected", "turned"))
    # Adam's learning rate, in place of optimizer.learning_rate.
    config.refinement.learning_rate = Field(1e-4, low=1e-30, high=1000)
    # Batches of projected samples to train on, in place of sampling.collect_iters.
    config.refinement.collect_iters = Field(40, low=1, high=10**6)
    # Pseudo-images per batch, in place of sampling.batch_size.
    config.refinement.batch_size = Field(4, low=1, high=4096)
    # True keeps the model's shape and view; albedo and light are refined. If a GAN hardly turns its object, or cannot
    # draw the picture, its images do not constrain the shape, and views drift until the texture has left the face.
    config.refinement.freeze_geometry = Field(False)
    # Held-out batches of projected samples, which decide how far the kept networks are from the model's; 0 keeps the
    # final ones.
    config.refinement.held_out = Field(8, low=0, high=1000)
    # Share of the greatest drop in the held-out samples' L1 that is enough: the first networks on the line from the
    # model's to the refined ones that reach it are kept. 1 keeps those with the lowest L1, whose gains often do not
    # carry over to the shape (docs/reports/lift.md).
    config.refinement.gain = Field(0.8, low=0.01, high=1)


def _outputs(config: ConfigDict) -> None:
    """Sets what is written and when, and how the program runs."""
    # What an interrupted run resumes from.
    config.checkpoint = ConfigDict()
    # Iterations between checkpoints; another one is written at the end of each step.
    config.checkpoint.every_iterations = Field(500, low=1, high=10**9, role="machine")
    # Checkpoints kept while an image is in progress; a finished image keeps none (see outputs.networks).
    config.checkpoint.keep = Field(2, low=1, high=10**6, role="machine")
    # Folder for checkpoints; '' means WORKDIR/checkpoints.
    config.checkpoint.folder = Field("", role="machine")

    # Pictures, meshes and animations.
    config.outputs = ConfigDict()
    # How much of a result is drawn: 'mesh' the mesh and the maps in the canonical frame; 'overview' also the overview;
    # 'standard' also strips of views from other sides and under other lights; 'all' also animations and images from the
    # GAN, if the fields below enable them.
    config.outputs.preset = Field("all", choices=("mesh", "overview", "standard", "all"), role="draw")
    # True also makes rotation and relighting images with the GAN.
    config.outputs.gan_images = Field(True, role="draw")
    # Trained networks kept for a finished image: 'small' keeps the view network and the encoder in float16 (10 MB at
    # the published widths, enough for `edit` and `evaluate identity`); 'full' keeps all five in float32 (62 MB), for
    # networks.pretrained; 'none' keeps only mesh, maps and pictures. What is not kept is lost with the image's
    # checkpoints. If schedule.reset_weight is False, it is always 'full'; joint training keeps its one set.
    config.outputs.networks = Field("small", choices=("none", "small", "full"), role="machine")
    # Frames in one swing of the turntable, and in one circle of the light.
    config.outputs.turntable_frames = Field(24, low=1, high=1000, role="draw")
    # True writes the mesh of the whole square, False cuts it at the object mask.
    config.outputs.mesh_full = Field(False, role="draw")
    # True also writes turntable and relighting as animations (MP4 and GIF).
    config.outputs.animation = Field(True, role="draw")
    # Side of images rendered from the mesh, in pixels; 0 means max(S, 192).
    config.outputs.picture_size = Field(0, low=0, high=4096, role="draw")

    # Progress reports and TensorBoard.
    config.logging = ConfigDict()
    # Iterations between log entries.
    config.logging.every_iterations = Field(100, low=1, high=10**9, role="machine")
    # True writes scalars and images for TensorBoard, if the extra `logging` is installed (tensorboardX).
    config.logging.tensorboard = Field(True, role="machine")

    # Compilation, devices and hosts.
    config.runtime = ConfigDict()
    # Folder of compiled and exported programs for later starts to reuse; '' means the user's cache folder
    # (~/.cache/gan2shape_jax, or below $XDG_CACHE_HOME), 'off' keeps none. If JAX_COMPILATION_CACHE_DIR is set, JAX's
    # own cache is used, and nothing is exported.
    config.runtime.compilation_cache = Field("", role="machine")
    # Training iterations compiled into one program; 0 chooses by the type of device.
    config.runtime.iterations_per_call = Field(0, low=0, high=10**6, role="machine")
    # Seconds that hosts which train together wait for each other at startup.
    config.runtime.hosts_timeout_s = Field(300, low=1, high=10**6, role="machine")
