"""Files of models: headers, checkpoints, ranges of bytes, output folders, journals. Bytes and integers, no torch."""
