"""From a photo to its 3D, as a person would tell it: find the object, crop and mask it, explain it, judge, texture.

    find.py      where the objects of the model's kind are in a photo, what else it may show, and of each object its
                 crop, its mask, how well it is seen, and how light the networks are to see it
    explain.py   what a model's networks make of it, feed-forward or refined on it
    judge.py     how far to trust that
    texture.py   the photo's own colours on its surface, or those of several photos
    pipeline.py  these steps in order
    together.py  the same of several photos of one object
    frames.py    photos from a video
    people.py    who is in all of several photos

They are functions of arrays; no module here writes a file. The command, the server, the cluster and the Python
interface call `pipeline` and `together`.
"""
