"""What figures need models for: pictures of words, and tables of what encoders make of them."""
