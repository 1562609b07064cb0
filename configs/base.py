"""Every field a run can set, with its default, meaning and unit.

The category files start from this one and change what differs. A field's documentation is the
comment right above it, as is that of a group: `gan2shape-jax --help=FIELD` prints these comments. Relative paths are
taken from the folder the program is started in; an empty path means "not given".

    python -m gan2shape_jax.main --config=configs/ictface.py --config.schedule.use_mask=True
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the defaults: the published method's settings at 128 pixels, without any data."""
    config = ConfigDict()
    # Every random choice of a run is a function of this number.
    config.seed = 0
    # Folder that receives checkpoints, logs and results; created when absent.
    config.workdir = "results/run"
    # 'instance': one image after another, each with its own networks; 'joint': all images train one
    # set of networks (schedule.joint has to say the same); 'predict': trained networks
    # (networks.pretrained) explain the images without any training, and need no GAN, latents or masks.
    # 'lift': the GAN's own samples train one set of networks, without any image (see config.lift).
    config.mode = "instance"
    # True reproduces the published implementation's known faults: half-pixel sampling, short normals, the first
    # batch of samples skipped; joint training's mixed-up lights and prior of the first image; exchanged vertices in
    # drawings of the mesh.
    config.reference = False
    # Kind of object: face, synface, ictface, celeba, cat, catface, car, church, horse, or a word of your own; decides
    # the prior's box, which parser finds masks, and how far pictures turn.
    config.category = "face"
    # Side S of the square images that the method works on, pixels; a power of two from 32 to 256.
    config.image_size = 128
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
    """Sets where the images lie, and what belongs to them."""
    # The images, and the latents, masks and true depths that belong to them.
    config.data = ConfigDict()
    # Text file with one image name a line; further columns are not read, names with spaces stand in quotation marks.
    config.data.image_list = ""
    # Folder of the images that the list names.
    config.data.image_root = ""
    # Folder of W latents, NAME.pt or NAME.npy; where there is none the GAN is inverted.
    config.data.latent_root = ""
    # Folder of true depths for the evaluation, NAME.npy (scene units) or NAME.png; '' evaluates
    # nothing.
    config.data.depth_root = ""
    # Where object masks come from (the ellipsoid prior and use_mask need them): 'file' (mask_root), 'alpha' (the
    # image's own), 'parser' (the category's), 'usual' (lift.usual_mask, where lift.masks is 'usual'), or 'auto': the
    # first of these four that an image has.
    config.data.mask_source = "auto"
    # Folder of object masks, NAME.png, white on the object.
    config.data.mask_root = ""
    # Side of the centred square cut from each image before it is resized to S, pixels; None cuts
    # nothing.
    config.data.crop = placeholder(int)

    # The network that finds object masks.
    config.parsing = ConfigDict()
    # Weights of the category's scene parser, as `gan2shape-jax convert` writes them (.safetensors); ''
    # goes without.
    config.parsing.weights = ""
    # True gives every parser pictures normalised as in its training; the published code does so for cars and cats only.
    config.parsing.normalize_all = False


def _camera(config: ConfigDict) -> None:
    """Sets the pinhole camera and the ranges of views."""
    # The pinhole camera, and how far views may turn and shift.
    config.camera = ConfigDict()
    # Field of view, degrees.
    config.camera.fov_deg = 10.0
    # Least depth of a surface, scene units.
    config.camera.min_depth = 0.9
    # Greatest depth of a surface, scene units.
    config.camera.max_depth = 1.1
    # Depth of the point that a view rotates about, scene units.
    config.camera.rot_center_depth = 1.0
    # Greatest rotation about each axis, degrees.
    config.camera.xyz_rotation_range_deg = 60.0
    # Greatest translation across the line of sight, scene units.
    config.camera.xy_translation_range = 0.1
    # Greatest translation along the line of sight, scene units.
    config.camera.z_translation_range = 0.0


def _networks(config: ConfigDict) -> None:
    """Sets the sizes of the five trained networks: depth, albedo, view, light and the encoder."""
    # The five trained networks.
    config.networks = ConfigDict()
    # Channels of the first level of depth, albedo, view and light networks; 0 means max(4096 / S,
    # 16).
    config.networks.width = 0
    # Channels of the first level of view and light networks where they differ; 0 means networks.width (Unsup3d has 32).
    config.networks.view_light_width = 0
    # Groups of the first group normalisation; 0 means 8 for S of 128 or more, else 16.
    config.networks.group_base = 0
    # Channels of the bottleneck of the depth and albedo networks.
    config.networks.zdim = 256
    # Channels of the encoder's first level.
    config.networks.encoder_width = 32
    # Weights to start from instead of random ones: networks.safetensors of a run, or a .pth of the
    # published implementation; '' starts afresh and fits the ellipsoid prior.
    config.networks.pretrained = ""


def _gan(config: ConfigDict) -> None:
    """Sets the frozen StyleGAN2 of the category."""
    # The frozen StyleGAN2.
    config.gan = ConfigDict()
    # Generator and discriminator, as `gan2shape-jax convert` writes them (.safetensors).
    config.gan.checkpoint = ""
    # Side of the images that the generator makes, pixels; has to be the checkpoint's.
    config.gan.size = 256
    # Width multiplier of the published architectures; has to be the checkpoint's, 0 accepts any
    # channels.
    config.gan.channel_multiplier = 2
    # Length of a latent in W; has to be the checkpoint's.
    config.gan.style_dim = 512
    # Truncation of latents towards the mean; 1 leaves them as they are.
    config.gan.truncation = 1.0
    # Mapping-network layers that the projected offset passes through (regularises it), counted from
    # the end; 8 is all.
    config.gan.F1_d = 2
    # False takes what the encoder says as the offset in W, past the mapping network (F1_d then has no effect): an
    # ablation for single images, but what a lift does, whose encoder has seen exact latents.
    config.gan.regularize_offset = True
    # True encodes an image relative to the GAN's own picture of the input's latent.
    config.gan.relative_enc = False


def _sampling(config: ConfigDict) -> None:
    """Sets the distributions that views and lights of pseudo-images are drawn from."""
    # How views and lights of pseudo-images are drawn.
    config.sampling = ConfigDict()
    # Mean (6,) and covariance (6,6) of views, network units (.pth or .npz).
    config.sampling.view_mvn = ""
    # Mean (4,) and covariance (4,4) of lights, network units (.pth or .npz).
    config.sampling.light_mvn = ""
    # Factor on drawn yaws.
    config.sampling.view_scale = 1.0
    # Range of x, range of y of the light direction (x, y, 1), range of its strength, ambient share
    # of the strength.
    config.sampling.rand_light = (-1.0, 1.0, -0.2, 0.8, -0.1, 0.6, -0.6)
    # True adds the mean view to what the view network says.
    config.sampling.add_mean_V = True
    # True adds the mean light to what the light network says.
    config.sampling.add_mean_L = True
    # Batches of projected samples kept at the end of step 2; when joint, of all images together, the
    # same whole number of batches for each.
    config.sampling.collect_iters = 100
    # Pseudo-images in a batch of steps 2 and 3.
    config.sampling.batch_size = 8


def _training(config: ConfigDict) -> None:
    """Sets the prior, the losses and the optimiser."""
    # The shape that training starts from.
    config.prior = ConfigDict()
    # What the depth network is first fitted to: 'ellipsoid' (the method's), 'whole_ellipsoid' (goes on above and
    # below the frame where that cuts the object off, and is as deep as half its width), 'shifted_ellipsoid' (moved
    # sideways), 'flat' (a plane in the middle of the range of depths), 'smoothed_box' (the mask raised,
    # its edges smoothed) or 'confidence' (the mask's probabilities raised, or the distance from the
    # outline of a mask that has none); near and far hold for all but 'flat', near
    # not for 'whole_ellipsoid'.
    config.prior.shape = "ellipsoid"
    # How far 'shifted_ellipsoid' is moved to the right, in widths of the object's box.
    config.prior.shift = 0.25
    # Depth of the ellipsoid's nearest point, scene units.
    config.prior.near = 0.91
    # Depth of the ellipsoid's rim and of everything outside it, scene units.
    config.prior.far = 1.02
    # Optimiser iterations that fit the depth network to the ellipsoid.
    config.prior.iterations = 1000

    # The perceptual distance, and the weights of the losses.
    config.loss = ConfigDict()
    # Perceptual distance: 'lpips' (VGG16, needs lpips_weights) or 'discriminator' (the GAN's own,
    # needs nothing more).
    config.loss.perceptual = "lpips"
    # LPIPS weights (.safetensors).
    config.loss.lpips_weights = ""
    # Weight of the perceptual distance.
    config.loss.lam_perc = 0.5
    # Weight of the smoothness of depth and shading.
    config.loss.lam_smooth = 0.01
    # Weight of the squared latent offset in step 2.
    config.loss.lam_regular = 0.01

    # Adam.
    config.optimizer = ConfigDict()
    # Adam's step size.
    config.optimizer.learning_rate = 1e-4
    # L2 penalty added to the gradient (coupled, not AdamW).
    config.optimizer.weight_decay = 5e-4
    # Decay of Adam's first moment.
    config.optimizer.beta1 = 0.9
    # Decay of Adam's second moment.
    config.optimizer.beta2 = 0.999
    # Term that keeps Adam's quotient finite.
    config.optimizer.eps = 1e-8

    # Finding latents of images that come without.
    config.inversion = ConfigDict()
    # Optimiser iterations that find an image's latent where no file gives it.
    config.inversion.steps = 500
    # Greatest step size of that optimisation, in W.
    config.inversion.learning_rate = 0.1


def _schedule(config: ConfigDict) -> None:
    """Sets the stages, and which networks see which image."""
    # Stages and steps, mirroring, and which images train which networks.
    config.schedule = ConfigDict()
    # Iterations of steps 1, 2 and 3, a triple a stage.
    config.schedule.stages = ((600, 600, 400), (200, 500, 300), (200, 500, 300), (200, 500, 300))
    # Per stage: the mirrored depth and albedo have to explain the input in step 1 too (needs
    # flip3).
    config.schedule.flip1 = (False, False, False, False)
    # Per stage: the mirrored depth and albedo have to explain input and samples in step 3 too.
    config.schedule.flip3 = (False, False, False, False)
    # True restores the initial weights before every new image; no effect when joint.
    config.schedule.reset_weight = True
    # True trains one set of networks on all images, the next image every iteration; config.mode has
    # to say the same ('joint').
    config.schedule.joint = False
    # Where several batches share an iteration: True gives each its own image, False all of them the same.
    config.schedule.independent = True
    # True averages the gradients of several batches an iteration; False has one batch an iteration.
    config.schedule.share_weight = True
    # Batches an iteration of joint training, spread over the devices, whose gradients are averaged; 0
    # means one a device.
    config.schedule.batches_per_iteration = 0
    # True keeps the losses of steps 2 and 3 to the object's mask.
    config.schedule.use_mask = False


def _lift(config: ConfigDict) -> None:
    """Sets what a GAN is lifted with."""
    # Lifting a GAN: joint training on its own samples (mode 'lift').
    config.lift = ConfigDict()
    # Samples that a stage trains on; every stage has other ones.
    config.lift.samples = 192
    # Truncation of the samples' latents towards the mean, in (0, 1]; less is more typical and less varied.
    config.lift.truncation = 0.9
    # Batches of projected samples kept for each sample of a stage.
    config.lift.batches = 4
    # Where the samples' object masks come from: 'found' (by GrabCut, from lift.usual_mask), 'parser' (the category's),
    # 'usual' (lift.usual_mask for all), or 'none' (the whole square).
    config.lift.masks = "found"
    # Picture of how often the object is at each pixel, white for always; '' finds it from samples of the GAN.
    config.lift.usual_mask = ""
    # Side in pixels that the GAN's samples are brought to where data.crop cuts them, as it does images.
    config.lift.cropped_from = 256
    # Samples that are never trained on; what training has come to is measured on them.
    config.lift.kept_out = 16
    # Fresh samples that the model's view and light statistics and typical errors are measured on.
    config.lift.measured = 256
    # Iterations in which the encoder learns to invert the GAN on fresh samples, before the first stage; 0: none.
    config.lift.inversion_iterations = 2000
    # Fresh samples that each image of such an iteration is compared with.
    config.lift.inversion_samples = 8
    # Learning rate of the first stage, where albedo begins with nothing; optimizer.learning_rate is that of later ones.
    config.lift.first_learning_rate = 2e-4
    # Learning rate of encoders, in the inversion and in step 2.
    config.lift.encoder_learning_rate = 5e-4
    # Steps that look for each projected sample's own latent, from what the encoder says; 0 takes what it says.
    config.lift.latent_iterations = 20
    # Adam's step size there, in W.
    config.lift.latent_learning_rate = 0.03
    # Stages whose step 3 holds view and light networks to the known views and lights of the pseudo-images.
    config.lift.anchored_stages = 1000
    # Iterations of step 2 in which each sample gets an encoder of its own, with offsets that pass through the mapping
    # network, for the step 3 of stages that are not anchored; views stay what they are then. 0: one encoder for all.
    config.lift.own_encoder_iterations = 0
    # Weight of the distance from known views: mean square, in standard deviations of what is drawn.
    config.lift.anchor_view = 0.2
    # Weight of the distance from known lights, likewise; known lights are those on the shape of the time, which is too
    # smooth at first.
    config.lift.anchor_light = 0.0
    # Iterations over which the learning rate rises at the start of every step.
    config.lift.warmup_iterations = 50
    # Decay, an iteration, of the moving average of the networks that a stage's step 3 ends with; 0 takes the latest.
    config.lift.average = 0.99
    # How much more the model's depth changes than training has changed it on average from networks.pretrained, as a
    # share of that; 0 leaves it. Training with encoders of the samples' own stops before the way is at its end.
    config.lift.overshoot = 0.0


def _refinement(config: ConfigDict) -> None:
    """Sets how a model is refined on one image."""
    # Refining a lifted GAN's model (networks.pretrained) on each image (mode 'instance').
    config.refinement = ConfigDict()
    # Iterations of steps 1, 2 and 3, a triple a stage, in place of schedule.stages; the first step 1 has at least one.
    # The mirrored sheet has a part in all of them where any stage of schedule.flip3 has it.
    config.refinement.lengths = ((30, 200, 150),)
    # True trains an encoder of the image's own in step 2, from the beginning, as gan.relative_enc, regularize_offset
    # and F1_d say; False goes on with the model's, which follows renderings so closely that it repeats their faults.
    config.refinement.new_encoder = True
    # Adam's step size, in place of optimizer.learning_rate.
    config.refinement.learning_rate = 1e-4
    # Batches of projected samples that are learned from, in place of sampling.collect_iters.
    config.refinement.collect_iters = 40
    # Pseudo-images in a batch, in place of sampling.batch_size.
    config.refinement.batch_size = 4
    # Weight, in step 3, of the mean squared distance of the depth from the model's, as shares of the range of depths.
    # Where a GAN hardly turns its object, pictures of it leave the shape open: dark patches then become hollows.
    config.refinement.hold_shape = 0.0
    # Batches of projected samples that are kept out of training, and decide how far from the model's the networks that
    # are kept lie; 0 keeps the last ones.
    config.refinement.kept_out = 8
    # What is enough of the greatest fall of their L1, as a share: the first networks on the way that reach it are kept.
    # 1 keeps those of the least L1, with gains that the shape often does not share (docs/reports/lift.md).
    config.refinement.gain = 0.8


def _outputs(config: ConfigDict) -> None:
    """Sets what is written when, and how the program runs."""
    # What an interrupted run goes on from.
    config.checkpoint = ConfigDict()
    # Iterations between checkpoints; one more is written at the end of each step.
    config.checkpoint.every_iterations = 500
    # Checkpoints kept while an image is under way; a finished image keeps none (see outputs.networks).
    config.checkpoint.keep = 2
    # Folder for checkpoints, also on object storage (gs://BUCKET/...); '' means WORKDIR/checkpoints.
    config.checkpoint.folder = ""

    # Pictures, meshes and animations.
    config.outputs = ConfigDict()
    # How much is drawn of a result: 'mesh' the mesh and the maps in the canonical frame; 'overview' also the overview;
    # 'standard' also strips of views from other sides and under other lights; 'all' also animations and pictures by the
    # GAN, where the fields below have them.
    config.outputs.preset = "all"
    # True also makes rotation and relighting pictures with the GAN.
    config.outputs.gan_images = True
    # Trained networks that a finished image keeps: 'small' the view network and the encoder in float16 (10 MB at the
    # published widths, what `edit` and `evaluate identity` take); 'full' all five in float32 (62 MB), for
    # networks.pretrained; 'none' leaves mesh, maps and pictures alone. What is not kept is lost with the image's
    # checkpoints. Where schedule.reset_weight is False it is always 'full'; joint training keeps its one set.
    config.outputs.networks = "small"
    # Frames of one swing of the turntable, and of one circle of the light.
    config.outputs.turntable_frames = 24
    # True writes the mesh of the whole square, False cuts it at the object mask.
    config.outputs.mesh_full = False
    # True also writes turntable and relighting as animations (MP4 and GIF).
    config.outputs.animation = True
    # Side of pictures rendered from the mesh, pixels; 0 means max(S, 192).
    config.outputs.picture_size = 0

    # Progress and TensorBoard.
    config.logging = ConfigDict()
    # Iterations between log entries.
    config.logging.every_iterations = 100
    # True writes scalars and pictures for TensorBoard.
    config.logging.tensorboard = True

    # Precision, compilation, devices and hosts.
    config.runtime = ConfigDict()
    # Folder of compiled programs that later starts reuse; '' is the user's cache folder (~/.cache/gan2shape_jax, or
    # below $XDG_CACHE_HOME), 'off' keeps none. Where JAX_COMPILATION_CACHE_DIR is set, JAX's own cache is used.
    config.runtime.compilation_cache = ""
    # True asks a GPU for operations that repeat bit by bit (slower); a CPU always does.
    config.runtime.deterministic = False
    # Images reconstructed at once, as one train step; 0 takes what the free memory of a GPU or TPU holds,
    # and 1 on a CPU, which never takes more than it has cores.
    config.runtime.images_at_once = 0
    # What networks (but for the encoder), GAN and perceptual network compute in: 'float32', 'bfloat16', or 'auto':
    # bfloat16 on TPU, float32 elsewhere. Parameters, losses, optimiser and all geometry are float32 in each.
    config.runtime.precision = "auto"
    # Training iterations compiled into one program; 0 chooses by the kind of device.
    config.runtime.iterations_per_call = 0
    # Hosts (processes) that share the work: 'auto' looks for others where Slurm, Open MPI, a TPU slice or
    # JAX_COORDINATOR_ADDRESS says so, 'one' never does.
    config.runtime.hosts = "auto"
    # Seconds to wait for the other hosts at the start.
    config.runtime.hosts_timeout_s = 300
    # True lets a run start whose rough estimate exceeds this machine's memory or disk by far (--check prints it).
    config.runtime.allow_large = False
