"""The training loop that runs the schedule: for one image, a group or many images, on one or more devices."""
