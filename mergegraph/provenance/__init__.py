"""What a finished output says of how it was made, and whether it is still what was written. Imports no torch."""
