"""What is decided between an object in a bucket and a signed revision; README.md has the modules in reading order."""
