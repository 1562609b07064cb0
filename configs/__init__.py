"""The named configurations: one short file a category, all of them changes to `base`."""
