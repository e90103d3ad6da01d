"""What leaves a run: meshes, pictures, videos and the offline page."""
