"""The build room: what runs on the developer's machine."""
