"""Output files: meshes, splats, images, videos and offline HTML pages."""
