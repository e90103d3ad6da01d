"""What can be rendered and optimized: an image, a radiance field."""
