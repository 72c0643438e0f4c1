"""What goes into an image and what it says of itself: the Dockerfile, its context, the labels. Engines build it."""
