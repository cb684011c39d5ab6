"""What a person asks for with action=: a file each."""
