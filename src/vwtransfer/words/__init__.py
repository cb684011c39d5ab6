"""What is trained, and the files that trained words lie in."""
