"""What we know about video: values in, values or command lines out. Running them is the handlers' business."""
