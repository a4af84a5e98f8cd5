"""The panel of ``bounceparse serve``: pages for people, rendered here, without a script."""
