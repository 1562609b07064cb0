"""The loop that carries a train state through the schedule: one image, a group or many, over devices."""
