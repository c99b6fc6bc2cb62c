"""What a merge does, tensor by tensor: numbers that were counted, what follows from them, and what stands out."""
