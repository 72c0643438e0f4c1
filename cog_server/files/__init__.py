"""Files are URLs outside and paths inside; here is where one becomes the other."""
