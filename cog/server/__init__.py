"""The name under which existing images and scripts start the server."""
